"""Training steps on one GPU: the largest batch that fits, time and utilisation, compiled against eager; and attention kernels.

Run: make bench-gpu, or python -m benchmarks.gpu (nine minutes at most). At the paper's sizes on a GPU it writes benchmarks/gpu.md,
else build/gpu-<scale>.md, line by line, so that one that is stopped leaves what it has. For a try on a CPU:
python -m benchmarks.gpu --scale smoke --backend aot_eager.
"""

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import kernels, steps
from benchmarks.noise import noise_batches
from cola_world.data.batches import CachedBatches
from cola_world.training import devices
from cola_world.training.devices import DeviceConfig, Devices
from cola_world.workspace.profile import Profile, read_profile

PAGE = Path(__file__).with_suffix(".md")
HEADING = """# Training on one GPU

Made by `python -m benchmarks.gpu{arguments}` on {device}, torch {torch}, bf16 with fp32 weights and fp32 quantiser, at the
sizes of the profile `{scale}`. Clips are noise, read from a cache, cropped and copied as in training.

## Attention kernels

Forward and backward of one layer's attention, milliseconds, at {clips} clips; sequences x heads x length x head size. `math` and
`plain` are compiled; a dash: no such kernel for this shape. The steps below are compiled with the fastest of the world model's."""
STEPS = """
## Steps

{peak} FLOP are counted: matrix products and convolutions, forward and backward, nothing twice.
In a step that encodes its clips, MFU counts the step's own FLOP and not the VAE's; TFLOP/s counts both. Clips: the most that
fit eagerly, then half as many again where they fit compiled. Compiled and eager steps take turns in one process; the ratio is
eager over compiled, with its quartiles. Idle: share of the time in which the device had neither a kernel nor a copy, in
{profiled} compiled steps in a row.

| step | clips | compiled, ms | clips/s | TFLOP/s | MFU | GB | idle | eager, ms | eager MFU | ratio | quartiles |
|---|---|---|---|---|---|---|---|---|---|---|---|"""
# What a line takes, compilation included; one for which less is left is not begun.
LINE_S = 100.0


class Page:
    """A file that has every line as soon as it is known."""

    def __init__(self, path: Path):
        self.path, self.lines = path, []
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, text: str) -> None:
        self.lines.append(text)
        self.path.write_text("\n".join(self.lines) + "\n")
        print(text, flush=True)


class Bench:
    """What all parts share."""

    def __init__(self, chosen: argparse.Namespace, profile: Profile, batches: CachedBatches):
        self.chosen, self.profile, self.batches = chosen, profile, batches
        self.end = time.monotonic() + 60 * chosen.minutes
        self.device = Devices(DeviceConfig(precision="bf16")).device
        name = torch.cuda.get_device_name() if self.device.type == "cuda" else "a CPU"
        own = chosen.scale == "paper" and self.device.type == "cuda"
        self.page = Page(chosen.out or (PAGE if own else Path(f"build/gpu-{chosen.scale}.md")))
        arguments = "".join(f" {word}" for word in sys.argv[1:])
        head = {"arguments": arguments, "device": name, "torch": torch.__version__, "scale": chosen.scale, "clips": chosen.kernel_clips}
        self.page.add(HEADING.format(**head))
        self.steps = steps.Steps(profile, batches, name)

    def attention(self) -> dict[str, str]:
        """Table of all layers -> the fastest kernel of the world model's two."""
        self.page.add(f"\n| layer | size | {' | '.join(kernels.KERNELS)} | fastest |\n" + "|---" * (len(kernels.KERNELS) + 3) + "|")
        fastest: dict[str, str] = {}
        for shape in kernels.shapes(self.profile.system, self.batches.shapes(), self.chosen.kernel_clips):
            times = kernels.measure(shape, self.device, self.chosen.seconds)
            self.page.add(kernels.row(shape, times))
            fastest.setdefault(shape.along, min(times, key=times.get))
        return fastest

    def training(self, attention: dict[str, str]) -> None:
        """Steps of both phases without and with encoding, the most telling first."""
        peak = f"The peak is taken as {self.steps.peak / 1e12:.0f} TFLOP/s." if self.steps.peak else "The device's peak is not known."
        self.page.add(STEPS.format(peak=peak, profiled=steps.PROFILED))
        config = DeviceConfig(precision="bf16", compile=True, attention=attention)
        for phase in ("e2e", "warmup"):
            if self.time_for(phase):
                self.lines_of(phase, config)
                free()

    def lines_of(self, phase: str, config: DeviceConfig) -> None:
        trainer, most = self.steps.trainer(phase, config), self.chosen.most_clips
        clips = self.steps.largest(trainer, most)
        self.page.add(self.steps.row(phase, trainer, clips))
        if self.time_for(f"{phase}, encoding"):
            with self.steps.encoding(trainer):
                fitting = next(fewer for fewer in (clips, clips * 3 // 4, 1) if self.steps.fits(trainer, fewer))
                self.page.add(self.steps.row(f"{phase}, encoding", trainer, fitting))
        larger = min(most, clips + clips // 2)
        if larger > clips and self.time_for(f"{phase}, {larger} clips") and self.steps.fits(trainer, larger, eager=False):
            self.page.add(self.steps.row(phase, trainer, larger, eager=False))

    def time_for(self, line: str) -> bool:
        enough = self.end - time.monotonic() > self.chosen.line_seconds
        if not enough:
            self.page.add(f"| {line}: not measured, for want of time |{11 * ' |'}")
        return enough


def free() -> None:
    """What nobody holds any more goes back to the device."""
    torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add: Callable = parser.add_argument
    add("--scale", default="paper")
    add("--minutes", type=float, default=9.0, help="in all")
    add("--line-seconds", type=float, default=LINE_S, help="with less left, no line of the second table is begun")
    add("--most-clips", type=int, default=256)
    add("--kernel-clips", type=int, default=8)
    add("--seconds", type=float, default=0.3, help="for each kernel")
    add("--backend", default="inductor", help="of torch.compile")
    add("--out", type=Path)
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    chosen = parse(words)
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # batches of many sizes come one after the other
    devices.BACKEND = chosen.backend
    profile = read_profile(chosen.scale, Path("."))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(chosen, profile, noise_batches(Path(folder), profile))
        bench.training(bench.attention())


if __name__ == "__main__":
    main()
