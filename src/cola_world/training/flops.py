"""Count the FLOPs of an optimiser step, and the tensors it keeps for its backward pass, on the meta device.

The losses of training run forward and backward on tensors without storage, so a frozen part costs activation
gradients and no weight gradients. Matrix products and convolutions count, 2 m n k each, as is usual for utilisation;
attention counts whole squares, masked or not, and nothing is counted twice.
Shape letters: B clips, T frames, L latent frames, C channels, Y X pixels, y x latent pixels.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from cola_world.data.batches import Batch, Shapes
from cola_world.models.autoencoder import SDXL, VAEConfig, build_autoencoder
from cola_world.models.system import SystemConfig, meta_system
from cola_world.models.vae import VAE, FrameVAE, VAEKind
from cola_world.training.objective import draw, phase_losses, select_trainable
from cola_world.training.phases import phase_of

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

META = torch.device("meta")
shared_system = cache(meta_system)
DEEP_PARTS = ("idm", "fdm", "action_adaln", "stdit3")
# Two shallow systems and this many times their difference make a deep one. 9 is fastest for the paper's depths.
REPEATS = 9


# From data sheets: FLOP/s of bf16 matrix products without sparsity, by what the device's name contains.
PEAKS = {"B200": 2250e12, "H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12}


def peak_flops(device: str) -> float | None:
    """Return the FLOP/s of a GPU by its name, or None if it is unknown."""
    return next((peak for name, peak in PEAKS.items() if name in device), None)


class Cost(NamedTuple):
    """The cost of one step; `kept` is in bytes, without the parameters themselves."""

    flops: int
    kept: int


@cache
def step_cost(config: SystemConfig, phase: str, shapes: Shapes, clips: int) -> Cost:
    """Return the cost of the forward and backward passes of `clips` clips, equal to `counted_step`.

    Blocks of a part are alike and each adds the same cost, so not every block is counted.
    """
    base = counted_step(shallow(config, 0), phase, shapes, clips)
    share = share_cost(config.model_copy(update={"bottleneck": "vq", "action_gain": 1.0}), phase, shapes, clips)
    return Cost(*(one + REPEATS * more for one, more in zip(base, share, strict=True)))


@cache
def share_cost(config: SystemConfig, phase: str, shapes: Shapes, clips: int) -> Cost:
    """Return the cost that one of the REPEATS equal shares of blocks adds."""
    less, more = (counted_step(shallow(config, times), phase, shapes, clips) for times in (0, 1))
    return Cost(more.flops - less.flops, more.kept - less.kept)


def shallow(config: SystemConfig, times: int) -> SystemConfig:
    """Cut each part to the blocks left over from REPEATS equal shares, plus `times` of those shares."""
    changes = {}
    for name in DEEP_PARTS:
        part = getattr(config, name)
        share, rest = divmod(part.depth - 1, REPEATS)
        changes[name] = part.model_copy(update={"depth": 1 + rest + times * share})
    return config.model_copy(update=changes)


@cache
def counted_step(config: SystemConfig, phase: str, shapes: Shapes, clips: int) -> Cost:
    """Count `step_cost` block by block."""
    system = shared_system(config)
    batch = Batch(*(torch.empty(clips, *shape, device=META) for shape in shapes))
    row = phase_of(phase, config.bottleneck)
    select_trainable(system, row)
    kept = Kept(system)
    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(kept.add, lambda tensor: tensor):
        draws = draw(system, row, clips, batch, torch.Generator()).each(lambda values: values.to(META))
        sum(phase_losses(system, row, batch, draws).values()).backward()
    system.zero_grad()
    return Cost(counter.get_total_flops(), kept.bytes())


class Kept:
    """Collects the storages that a backward pass waits for, each once."""

    def __init__(self, module: nn.Module):
        self.own = {parameter.untyped_storage()._cdata for parameter in module.parameters()}
        self.storages: dict[int, torch.UntypedStorage] = {}

    def add(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.own:
            self.storages[storage._cdata] = storage
        return tensor

    def bytes(self) -> int:
        return sum(storage.nbytes() for storage in self.storages.values())


@cache
def trained_parameters(config: SystemConfig, phase: str) -> tuple[int, int]:
    """Return the number of parameters that learn in the phase, and of all parameters of the system."""
    system = shared_system(config)
    learning = select_trainable(system, phase_of(phase, config.bottleneck))
    return sum(p.numel() for p in learning.values()), sum(p.numel() for p in system.parameters())


def meta_vae(kind: VAEKind, config: VAEConfig | None) -> VAE:
    """Build the VAE of a profile with shapes only."""
    with META:
        if kind == "opensora":
            from cola_world.models.opensora_vae import PUBLISHED, OpenSoraVAE

            return OpenSoraVAE(PUBLISHED)
        autoencoder = build_autoencoder(config or SDXL)
    channels = autoencoder.config.latent_channels
    return FrameVAE(autoencoder, [0.0] * channels, [1.0] * channels).to(META)


def encoding_flops(vae: VAE, frames: int, side: int) -> int:
    """Return the FLOPs of encoding one clip of `frames` frames of side x side pixels."""
    with FlopCounterMode(display=False) as counter:
        vae.encode(torch.empty(1, frames, 3, side, side, device=META))
    return counter.get_total_flops()


def vae_step_flops(autoencoder: AutoencoderKL, frames: int, side: int) -> int:
    """Return the FLOPs of a step that trains the VAE on `frames` frames."""
    pixels = torch.empty(frames, 3, side, side, device=META)
    autoencoder.requires_grad_(True)
    with FlopCounterMode(display=False) as counter:
        autoencoder.decode(autoencoder.encode(pixels).latent_dist.mode()).sample.mean().backward()
    return counter.get_total_flops()
