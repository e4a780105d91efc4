"""The paper's system built for real on a CPU, and one warm-up step of it on a clip of two frames.

Run: python -m benchmarks.paper_step (some minutes; 24 GB are enough). It prints the parameters, the seconds and the peak memory.
"""

import resource
import time
from pathlib import Path

import torch
from rich.console import Console

from cola_world.data.batches import Batch
from cola_world.doctor.parameters import table
from cola_world.models.layers import count
from cola_world.models.system import System
from cola_world.training.loop import Trainer, TrainingConfig
from cola_world.training.phases import PHASES
from cola_world.workspace.profile import read_profile

FRAMES = 2
SIDE = 256
DOWNSAMPLING = 8


class RandomClips:
    """Noise in the shape of the paper's clips: 256-px frames and their 32 x 32 SDXL latents."""

    def at(self, step: int, size: int, crop: bool, clips: slice = slice(None)) -> Batch:
        generator = torch.Generator().manual_seed(step)
        side = SIDE // DOWNSAMPLING
        video = torch.rand(size, FRAMES, 3, SIDE, SIDE, generator=generator)
        return Batch(video, torch.randn(size, FRAMES, 4, side, side, generator=generator))


def main() -> None:
    start = time.perf_counter()
    system = System(read_profile("paper", Path(".")).system, seed=0)
    built = time.perf_counter()
    Console().print(table("paper", {name: count(part) for name, part in system.parts().items()}))
    trainer = Trainer(system, PHASES["warmup"], TrainingConfig(batch_size=1, learning_rate=7.5e-5), RandomClips(), seed=0)
    losses = trainer.train_step()
    ended = time.perf_counter()
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"built in {built - start:.0f} s; one warm-up step on a clip of {FRAMES} frames in {ended - built:.0f} s")
    print("losses: " + ", ".join(f"{name} {loss.item():.4f}" for name, loss in losses.items()))
    print(f"peak memory {peak_gb:.1f} GB, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
