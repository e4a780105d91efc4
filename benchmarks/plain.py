"""Our models in the plain form of the public code: what they compute is the same, how is not.

Attention with an explicit softmax in fp32, as the public models fall back to for short sequences; and the sampler with
nothing kept between steps.
"""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from benchmarks.public_form import PublicSTDiT3
from cola_world.models.flow import shift_timesteps
from cola_world.models.layers import Attention
from cola_world.models.world_model import WorldModel

Model = TypeVar("Model", bound=nn.Module)


class PlainAttention(Attention):
    """Queries times keys, mask, softmax, times values: each step a tensor of its own."""

    def forward(self, x_NLD: Tensor, rotary: tuple[Tensor, Tensor] | None = None, past: None = None) -> Tensor:
        q, k, v = self.project(x_NLD, rotary)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        if self.causal:
            later = torch.ones_like(scores[0, 0], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(later, float("-inf"))
        out = scores.float().softmax(-1).to(v.dtype) @ v
        return self.proj(out.transpose(1, 2).flatten(2))


def plain(model: Model) -> Model:
    """A copy whose attention is the plain one, with equal weights."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if type(module) is Attention:
            module.__class__ = PlainAttention
    return model


def start(model: WorldModel, context_BKCYX: Tensor, frames: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noise behind the clean frames, and the times of the Euler steps."""
    x = torch.randn((len(context_BKCYX), frames, *context_BKCYX.shape[2:]), generator=generator)
    x[:, : context_BKCYX.shape[1]] = context_BKCYX
    return x, shift_timesteps(torch.linspace(1, 0, model.flow.sampling_steps + 1), model.shift(frames, model.stdit3.side(*x.shape[-2:])))


@torch.no_grad()
def sample_without_cache(model: WorldModel, context_BKCYX: Tensor, z_BAZ: Tensor, generator: torch.Generator) -> Tensor:
    """`WorldModel.sample` with the clean frames read again at every step; both halves of guidance in one batch."""
    known, frames = context_BKCYX.shape[1], z_BAZ.shape[1] + 1
    modulation = torch.cat((model.action_adaln(z_BAZ), model.action_adaln(torch.zeros_like(z_BAZ))))
    x, times = start(model, context_BKCYX, frames, generator)
    for now, after in zip(times[:-1], times[1:], strict=True):
        t_BT = x.new_full((2 * len(x), frames), 1000 * float(now))
        t_BT[:, :known] = 0
        acted, free = model.stdit3(x.repeat(2, 1, 1, 1, 1), t_BT, modulation).chunk(2)
        x[:, known:] += guided(model, acted, free, now - after)[:, known:]
    return x


@torch.no_grad()
def public_sample(
    public: PublicSTDiT3, model: WorldModel, context_BKCYX: Tensor, z_BAZ: Tensor, generator: torch.Generator
) -> Tensor:
    """The same with `public` in the place of the model's STDiT3, guidance in two forwards, the action path in each."""
    known, frames, config = context_BKCYX.shape[1], z_BAZ.shape[1] + 1, model.stdit3.config
    x, times = start(model, context_BKCYX, frames, generator)
    noised = torch.arange(frames).expand(len(x), -1) >= known
    for now, after in zip(times[:-1], times[1:], strict=True):
        t_B, scale = x.new_full((len(x),), 1000 * float(now)), model.stdit3.side(*x.shape[-2:]) / config.reference_size
        acted, free = (
            public(x, t_B, noised, config.fps, scale, model.action_adaln(z), causal=True) for z in (z_BAZ, torch.zeros_like(z_BAZ))
        )
        x[:, known:] += guided(model, acted, free, now - after)[:, known:]
    return x


def guided(model: WorldModel, acted: Tensor, free: Tensor, step: Tensor) -> Tensor:
    return (free + model.flow.guidance * (acted - free)) * step
