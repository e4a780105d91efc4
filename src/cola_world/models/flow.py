"""Rectified flow in OpenSora's convention: x_t = (1 - t) x0 + t eps, target velocity x0 - eps (Liu et al., 2022).

Shape letters: B clips, T latent frames, A actions, C channels, Y X latent pixels.
"""

import math
from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from cola_world.models.config import Config


class FlowConfig(Config):
    """Timestep law, context frames, guidance (paper B.2: 10 steps, guidance 4.0, drop probability 0.1)."""

    # not in paper: because OpenSora v1.2's configurations train with logit-normal t; uniform is its class default.
    timesteps: Literal["uniform", "logit-normal"] = "logit-normal"
    # not in paper: because the paper does not say whether it uses OpenSora's timestep transform, the shift towards
    # noise is a number (1: none) or follows from the size of the clip, as in OpenSora v1.2.
    shift: Annotated[float, Field(gt=0)] | Literal["size"] = 1.0
    # not in paper: because the first action of the IDM starts from one frame, the context is one clean frame.
    context_frames: int = Field(1, ge=0)
    action_drop: float = Field(0.1, ge=0, le=1)
    # not in paper: because actions that are dropped one by one leave a clip without any in 1 % of the cases at three
    # frames and in none at eight, this share of whole clips loses all of them, so that `unconditional: all` is trained.
    clip_drop: float = Field(0.1, ge=0, le=1)
    # not in paper: because the paper does not say which actions the unconditional half of guidance drops: those of all
    # frames, or for each frame its own alone.
    unconditional: Literal["all", "own"] = "all"
    guidance: float = 4.0
    sampling_steps: int = Field(10, ge=1)


class FlowDraws(NamedTuple):
    """The random numbers of a flow loss: t [B] in [0, 1], noise shaped like the latents, and which actions are kept
    [B, A].

    They are drawn for a whole batch. Each device then takes those of its clips.
    """

    t_B: Tensor
    eps_BTCYX: Tensor
    keep_BA: Tensor | None

    def each(self, function: Callable[[Tensor], Tensor]) -> "FlowDraws":
        return FlowDraws(*(None if values is None else function(values) for values in self))


def resolution_ratio(height: float, width: float, frames: int, scale: float = 1.0) -> float:
    """Return OpenSora's shift for the size of a clip: sqrt(pixels / 512^2) * sqrt(latent frames). It is never zero."""
    return math.sqrt(height * width / 512**2) * math.sqrt(frames) * scale


def shift_of(config: FlowConfig, side: float, frames: int) -> float:
    """Return the shift for clips of `frames` latent frames of `side` x `side` pixels."""
    return resolution_ratio(side, side, frames) if config.shift == "size" else config.shift


def shift_timesteps(t: Tensor, ratio: float) -> Tensor:
    """Move t in [0, 1] towards noise for ratio > 1: r t / (1 + (r - 1) t)."""
    return ratio * t / (1 + (ratio - 1) * t)


def sample_timesteps(config: FlowConfig, count: int, shift: float, generator: torch.Generator) -> Tensor:
    """Draw one t in [0, 1] per clip; 1 is pure noise."""
    if config.timesteps == "uniform":
        t_B = torch.rand(count, generator=generator)
    else:
        t_B = torch.randn(count, generator=generator).sigmoid()
    return shift_timesteps(t_B, shift)


def noised(x0_BTCYX: Tensor, eps_BTCYX: Tensor, t_B: Tensor, context: int) -> tuple[Tensor, Tensor]:
    """Mix in noise on all but the first `context` frames -> (x_t, t of each frame [B, T])."""
    t_BT = t_B[:, None].repeat(1, x0_BTCYX.shape[1])
    t_BT[:, :context] = 0
    weight = t_BT[:, :, None, None, None]
    return (1 - weight) * x0_BTCYX + weight * eps_BTCYX, t_BT


def flow_loss(velocity: Tensor, x0_BTCYX: Tensor, eps_BTCYX: Tensor, context: int) -> Tensor:
    """Return the mean squared error against x0 - eps over the noised frames, one value per clip."""
    error = velocity - (x0_BTCYX - eps_BTCYX)
    return error[:, context:].square().mean(dim=(1, 2, 3, 4))


def drop_actions(z_BAZ: Tensor, keep_BA: Tensor) -> Tensor:
    """Set every action that is not kept to zero, for timestep-wise guidance (paper B.2)."""
    return z_BAZ * keep_BA[..., None].to(z_BAZ)
