"""Where the time of a training step goes, phase by phase, and what pre-decoded clips gain over reading mp4s.

Reads a workspace in which `make repro` has run. Run: python -m benchmarks.training (two minutes on two cores); writes
benchmarks/training.md. On a GPU every part is waited for, so that a part's time is its own; the sum is then more than a free step's.
"""

import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import av
import decord
import numpy as np
import pandas as pd
import torch

from benchmarks.measuring import compare, seconds
from cola_world.data.batches import CachedBatches
from cola_world.data.clips import ClipCache, ClipSampler
from cola_world.models.pixels import unit_pixels
from cola_world.models.system import System
from cola_world.models.vae import load_vae
from cola_world.training.devices import Devices
from cola_world.training.loop import Trainer
from cola_world.training.phases import phase_of
from cola_world.training.plan import RunPlan

OUT = Path(__file__).with_suffix(".md")
RUNS = ("pretrain", "lam", "warmup", "e2e")
PARTS = ("data", "LAM", "world model", "backward", "optimiser")
VAE_FOLDER = Path("runs/vae")
STEPS, WARM_UP = 60, 10


class Stopwatch:
    """Adds up the time of functions that it stands before."""

    def __init__(self, device: torch.device):
        self.seconds: dict[str, float] = defaultdict(float)
        self.device = device

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def around(self, owner: object, name: str, part: str) -> None:
        function = getattr(owner, name)

        def timed(*values, **named):
            start = self.now()
            result = function(*values, **named)
            self.seconds[part] += self.now() - start
            return result

        setattr(owner, name, timed)


def trainer_of(run: str) -> Trainer:
    """As the run begins, but for its parents: their weights do not change what a step costs."""
    plan = RunPlan.model_validate_json(Path("runs/plan", f"{run}.json").read_text())
    batches = CachedBatches(Path("data/clips"), Path("data/latents"), plan.clips.num_frames, plan.weights)
    system, phase = System(plan.system, seed=0), phase_of(plan.phase, plan.system.bottleneck)
    return Trainer(system, phase, plan.training, batches, 0, Devices(plan.devices), plan.steps_per_paper_step)


def split(run: str) -> str:
    """Milliseconds a step, whole and by part; what no part has is the loop's own."""
    trainer = trainer_of(run)
    watch = Stopwatch(trainer.devices.device)
    whole, idle = step_ms(trainer, watch)
    watch.around(trainer.source, "at", "data")
    watch.around(trainer.system.lam, "latent_actions", "LAM")
    watch.around(trainer.system.lam.fdm, "loss", "LAM")
    watch.around(trainer.system.world_model, "loss", "world model")
    watch.around(trainer.devices, "backward", "backward")
    watch.around(trainer.optimizer, "step", "optimiser")
    watched, _ = step_ms(trainer, watch)
    shares = [1e3 * watch.seconds[part] / (STEPS + WARM_UP) for part in PARTS]
    cells = " | ".join(f"{value:.1f}" for value in (whole, *shares, max(0.0, watched - sum(shares))))
    return f"| {run} | {trainer.config.batch_size} | {cells} | {idle:.1%} |"


def step_ms(trainer: Trainer, watch: Stopwatch) -> tuple[float, float]:
    """Milliseconds a step, and the share of the time in which the process had nothing to do or was kept from it."""
    for _ in range(WARM_UP):
        trainer.train_step()
    start, used = watch.now(), time.process_time()
    for _ in range(STEPS):
        trainer.train_step()
    elapsed = watch.now() - start
    return 1e3 * elapsed / STEPS, max(0.0, 1 - (time.process_time() - used) / elapsed)


def encoding_ms() -> float:
    """What the VAE would take of every step, were its latents not cached."""
    trainer, vae = trainer_of("e2e"), load_vae(VAE_FOLDER)
    video = unit_pixels(trainer.source.at(0, trainer.config.batch_size, True).video)
    return 1e3 * statistics.median(seconds(lambda: vae.encode(video)) for _ in range(5))


class Mp4Clips:
    """The same clips read from the mp4s, as a loader without a cache would."""

    def __init__(self, sampler: ClipSampler, read: Callable[[Path, np.ndarray], np.ndarray]):
        manifest = pd.read_parquet("data/manifests/manifest.parquet").set_index(["corpus", "episode"])
        self.sampler, self.read = sampler, read
        self.episodes = sampler.cache.episodes.sort_values("offset").reset_index(drop=True)
        self.source = [manifest.loc[(row.corpus, row.episode)] for row in self.episodes.itertuples()]

    def batch(self, step: int, size: int) -> list[np.ndarray]:
        clips = self.sampler.batch(step, size)
        which = np.searchsorted(self.episodes.offset.to_numpy(), clips[:, 0], side="right") - 1
        return [
            self.read(Path(self.source[at].path), self.source[at].first_frame + frames - self.episodes.offset[at])
            for at, frames in zip(which, clips, strict=True)
        ]


def with_decord(path: Path, frames: np.ndarray) -> np.ndarray:
    return decord.VideoReader(str(path), num_threads=1).get_batch(frames.tolist()).asnumpy()


def with_pyav(path: Path, frames: np.ndarray) -> np.ndarray:
    """Sought to the key frame before, then decoded up to the last frame wanted."""
    wanted, found = set(frames.tolist()), {}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        tick = 1 / (stream.average_rate * stream.time_base)
        container.seek(int(min(wanted) * tick), stream=stream)
        for frame in container.decode(stream):
            index = round(frame.pts / tick)
            if index in wanted:
                found[index] = frame.to_ndarray(format="rgb24")
            if len(found) == len(wanted):
                break
    return np.stack([found[index] for index in frames.tolist()])


def loaders() -> list[str]:
    """Clips a second from the cache, against the same clips from mp4s."""
    plan = RunPlan.model_validate_json(Path("runs/plan/e2e.json").read_text())
    batches = CachedBatches(Path("data/clips"), Path("data/latents"), plan.clips.num_frames, plan.weights)
    sampler = ClipSampler(
        ClipCache.open(Path("data/clips")), num_frames=plan.clips.num_frames, weights=plan.weights, split="train", seed=0
    )
    size, rows = plan.training.batch_size, []
    for name, read in {"decord": with_decord, "PyAV": with_pyav}.items():
        mp4s = Mp4Clips(sampler, read)
        result = compare(lambda: batches.at(0, size, True), lambda mp4s=mp4s: mp4s.batch(0, size), turns=15)
        rate = " | ".join(f"{size / seconds:.0f}" for seconds in (result.ours_s, result.other_s))
        rows.append(f"| {name} | {rate} | {result.ratio:.0f} | {result.low:.0f} to {result.high:.0f} |")
    return rows


def main() -> None:
    torch.set_num_threads(1)
    scale = RunPlan.model_validate_json(Path("runs/plan/e2e.json").read_text()).scale
    lines = [
        "# Training steps and the loader",
        "",
        f"Made by `python -m benchmarks.training` at scale {scale}: one thread of a {platform.machine()} CPU, torch {torch.__version__}.",
        f"Milliseconds a step, mean of {STEPS}: the free step, then its parts in steps that were watched. LAM and world model: their",
        "forwards. The rest is drawing noise, clipping, and the loop. Idle: the share of the free step in which the process waited.",
        "",
        f"| phase | clips | step | {' | '.join(PARTS)} | rest | idle |",
        "|" + "---|" * (len(PARTS) + 5),
        *(split(run) for run in RUNS),
        "",
        f"VAE latents are cached; encoding a batch anew would take {encoding_ms():.0f} ms of every step.",
        "",
        "Clips a second from the cache (pixels and latents of a random crop), against the same clips' pixels from the mp4s, in turns.",
        "",
        "| mp4s by | cache, clips/s | mp4s, clips/s | ratio | quartiles |",
        "|---|---|---|---|---|",
        *loaders(),
    ]
    OUT.write_text("\n".join(lines) + "\n")
    print(OUT.read_text())


if __name__ == "__main__":
    main()
