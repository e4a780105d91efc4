"""Training steps of a phase: how many clips fit, how long they take compiled and eager, and how idle they leave the device."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.kernels import wait
from benchmarks.measuring import Ratio, compare
from cola_world.data.batches import Batch, CachedBatches
from cola_world.models.autoencoder import SDXL, build_autoencoder
from cola_world.models.pixels import unit_pixels
from cola_world.models.system import System
from cola_world.models.vae import FrameVAE
from cola_world.training import devices
from cola_world.training.devices import DeviceConfig, Devices
from cola_world.training.flops import encoding_flops, meta_vae, peak_flops, step_cost
from cola_world.training.loop import Trainer, TrainingConfig
from cola_world.training.objective import Draws
from cola_world.training.phases import Phase, phase_of
from cola_world.training.prefetch import Prefetched
from cola_world.workspace.profile import Profile

PROFILED = 6  # steps
TURNS = 7


class Steps:
    """Steps of a profile's system on this process's device."""

    def __init__(self, profile: Profile, batches: CachedBatches, device_name: str):
        self.profile, self.batches, self.peak = profile, batches, peak_flops(device_name)
        self.phase, self.encoding_flops = "", 0  # of a clip, where steps encode

    def trainer(self, phase: str, config: DeviceConfig) -> Trainer:
        made, system = Devices(config), self.profile.system
        with made.device:  # a GPU's own random numbers make a billion weights in a moment
            model = System(system, seed=0)
        self.phase = phase
        return Trainer(model, phase_of(phase, system.bottleneck), TrainingConfig(batch_size=1, learning_rate=7.5e-5), self.batches, 0, made)

    def largest(self, trainer: Trainer, most: int) -> int:
        """Clips of an eager step: doubled while they fit, then half of the last doubling."""
        clips = 1
        while 2 * clips <= most and self.fits(trainer, 2 * clips):
            clips *= 2
        half = clips + clips // 2
        return half if clips < half <= most and self.fits(trainer, half) else clips

    def fits(self, trainer: Trainer, clips: int, eager: bool = True) -> bool:
        """Two steps, for the first one's gradients meet no optimiser moments."""
        resize(trainer, clips)
        try:
            for _ in range(2):
                step(trainer, eager)
            return True
        except torch.OutOfMemoryError:
            return False
        finally:
            trainer.optimizer.zero_grad(set_to_none=True)
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    @contextmanager
    def encoding(self, trainer: Trainer) -> Iterator[None]:
        """In it the trainer's steps encode their clips, as if no latents were cached."""
        config, call = self.profile.vae.model or SDXL, trainer.call
        channels = config.latent_channels
        vae = FrameVAE(build_autoencoder(config), [0.0] * channels, [1.0] * channels).to(trainer.devices.device, torch.bfloat16).eval()
        vae.autoencoder.encoder.compile(backend=devices.BACKEND, dynamic=False)
        trainer.call = partial(encoding_call, call, vae)
        clips = self.profile.clips
        self.encoding_flops = encoding_flops(meta_vae("small", config), clips.num_frames, clips.crop)
        try:
            yield
        finally:
            trainer.call, self.encoding_flops = call, 0

    def row(self, name: str, trainer: Trainer, clips: int, eager: bool = True) -> str:
        """One line of the table."""
        resize(trainer, clips)
        own, other = (partial(step, trainer, how) for how in (False, True))
        turns = compare(own, other if eager else own, turns=TURNS)
        training = step_cost(self.profile.system, self.phase, self.batches.shapes(), clips).flops
        rate = (training + clips * self.encoding_flops) / turns.ours_s / 1e12
        cells = [f"{1e3 * turns.ours_s:.1f}", f"{clips / turns.ours_s:.1f}", f"{rate:.1f}", self.mfu(training, turns.ours_s)]
        cells += [memory(own), f"{idle(trainer):.1%}" if trainer.devices.device.type == "cuda" else "–"]
        cells += self.eager_cells(turns, training) if eager else 4 * ["–"]
        return f"| {name} | {clips} | {' | '.join(cells)} |"

    def eager_cells(self, turns: Ratio, flops: int) -> list[str]:
        quartiles = f"{turns.low:.2f} to {turns.high:.2f}"
        return [f"{1e3 * turns.other_s:.1f}", self.mfu(flops, turns.other_s), f"{turns.ratio:.2f}", quartiles]

    def mfu(self, flops: float, seconds: float) -> str:
        return f"{flops / seconds / self.peak:.1%}" if self.peak else "–"


def step(trainer: Trainer, eager: bool) -> None:
    """One, waited for."""
    with torch.compiler.set_stance("force_eager" if eager else "default"):
        trainer.train_step()
    wait(trainer.devices.device)


def resize(trainer: Trainer, clips: int) -> None:
    trainer.config = trainer.config.model_copy(update={"batch_size": clips})
    trainer.parts, trainer.drawn = trainer.devices.shares(clips), None
    trainer.material = Prefetched(trainer.make, trainer.parts) if trainer.devices.prefetches else trainer.make


def encoding_call(call: Callable, vae: FrameVAE, function: Callable, phase: Phase, batch: Batch, draws: Draws) -> dict[str, Tensor]:
    latents = vae.encode(unit_pixels(batch.video).bfloat16()).float()
    return call(function, phase, batch._replace(latents=latents), draws)


def memory(work: Callable[[], None]) -> str:
    """Most GB that the device's allocator has held in it."""
    if not torch.cuda.is_available():
        return "–"
    torch.cuda.reset_peak_memory_stats()
    work()
    return f"{torch.cuda.max_memory_allocated() / 1e9:.1f}"


def idle(trainer: Trainer) -> float:
    """Share of steps in a row, not waited for, in which the device had nothing to do."""
    with profile(activities=[ProfilerActivity.CUDA]) as watched:
        for _ in range(PROFILED):
            trainer.train_step()
        wait(trainer.devices.device)
    on_device = [event for event in watched.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return gaps([(event.time_range.start, event.time_range.end) for event in on_device])


def gaps(spans: list[tuple[float, float]]) -> float:
    """Share of the time from the first begin to the last end that no span covers."""
    spans = sorted(spans)
    busy, last = 0.0, spans[0][0]
    for start, end in spans:
        busy += max(0.0, end - max(start, last))
        last = max(last, end)
    return 1 - busy / (last - spans[0][0])
