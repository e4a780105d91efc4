"""The state of a run on its held-out clips: health of the bottleneck, losses, and whether actions mean anything."""

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from cola_world.data.batches import Batch
from cola_world.metrics.codebook import codebook_metrics
from cola_world.metrics.posterior import posterior_metrics
from cola_world.models.flow import FlowDraws
from cola_world.models.lam import LatentActions
from cola_world.models.system import System
from cola_world.training.phases import Phase


class Ranks(Protocol):
    """Shares rows out among processes and puts them together again."""

    ranks: int
    device: torch.device

    def own(self, values: Tensor) -> Tensor: ...

    def gathered(self, values: Tensor) -> Tensor: ...


class Alone:
    """One process that does it all."""

    ranks, device = 1, torch.device("cpu")

    def own(self, values: Tensor) -> Tensor:
        return values

    def gathered(self, values: Tensor) -> Tensor:
        return values


@torch.no_grad()
def measure(
    system: System, phase: Phase, heldout: Batch, call: Callable[..., Any] | None = None, ranks: Ranks | None = None, chunk: int = 64
) -> dict[str, float]:
    """Return a flat dict of metrics on `heldout`, with the same noise and timesteps at every call, for every run and
    seed.

    `shuffle_gap` is the rise of the flow loss when each clip gets another clip's actions. It is zero if the world
    model ignores them or they say nothing. `call(function, …)` runs a function of the system where the system lies.
    """
    held = HeldOut(system, heldout, call or (lambda function, *values: function(system, *values)), ranks or Alone(), chunk)
    metrics: dict[str, float] = {}
    actions = None
    if phase.actions != "none":
        parts = held.each(latent_actions, heldout.video)
        actions = held.gathered([part.z_BAMZ for part in parts]).flatten(2)
        metrics |= bottleneck_metrics(held, parts)
    if "flow" in phase.losses:
        metrics["flow_loss"] = held.flow_loss(actions)
    if "flow" in phase.losses and actions is not None:
        metrics["shuffle_gap"] = held.flow_loss(actions.roll(1, 0)) - metrics["flow_loss"]
    if "pixel" in phase.losses:
        metrics["pixel_mse"] = held.gathered(held.each(pixel_loss, heldout.video, actions)).mean().item()
    return metrics


class HeldOut:
    """The held-out clips of this rank, one chunk at a time."""

    def __init__(self, system: System, clips: Batch, call: Callable[..., Any], ranks: Ranks, chunk: int):
        self.system, self.clips, self.call, self.ranks = system, clips, call, ranks
        # Every rank has as many chunks as the others, because all of them gather sharded weights at once.
        self.chunks = math.ceil(len(clips.video) / ranks.ranks / chunk)

    def each(self, function: Callable[..., Any], *values: Tensor) -> list[Any]:
        """Return `function(system, chunk, …)` for every chunk of this rank's rows of `values`."""
        parts = [self.ranks.own(value).tensor_split(self.chunks) for value in values]
        return [self.call(function, *(value.to(self.ranks.device) for value in chunk)) for chunk in zip(*parts, strict=True)]

    def gathered(self, parts: list[Tensor]) -> Tensor:
        """Return the rows of all chunks and ranks."""
        return self.ranks.gathered(torch.cat(parts))

    def flow_loss(self, actions: Tensor | None) -> float:
        draws = self.system.world_model.draw(self.clips.latents.shape, torch.Generator().manual_seed(0), drop=False)
        values = (self.clips.latents, draws.t_B, draws.eps_BTCYX)
        losses = self.each(flow_loss, *values) if actions is None else self.each(flow_loss, *values, actions)
        return self.gathered(losses).mean().item()


def latent_actions(system: System, video: Tensor) -> LatentActions:
    return system.lam.latent_actions(video)


def flow_loss(system: System, latents: Tensor, t_B: Tensor, eps: Tensor, actions: Tensor | None = None) -> Tensor:
    return system.world_model.loss(latents, actions, FlowDraws(t_B, eps, None))


def pixel_loss(system: System, video: Tensor, actions: Tensor) -> Tensor:
    """Return the mean of the chunk, repeated for each clip."""
    return system.lam.fdm.loss(system.lam.video(video), actions).expand(len(video))


def bottleneck_metrics(held: HeldOut, parts: list[LatentActions]) -> dict[str, float]:
    """Return codebook metrics for VQ, and those of the posterior for a VAE, which has no codes."""
    if held.system.config.bottleneck == "vae":
        mean = held.gathered([part.mean_BAMZ for part in parts])
        log_variance = held.gathered([part.log_variance_BAMZ for part in parts])
        return posterior_metrics(mean.flatten(0, 1), log_variance.flatten(0, 1))
    indices = held.gathered([part.indices_BAM for part in parts])
    metrics = codebook_metrics(indices.flatten(0, 1), held.system.config.quantizer.codes)
    vq_losses = [part.vq_loss.expand(len(part.indices_BAM)) for part in parts]
    return metrics | {"vq_loss": held.gathered(vq_losses).mean().item()}
