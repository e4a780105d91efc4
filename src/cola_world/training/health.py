"""The state of a run on its held-out clips: health of the bottleneck, losses, and whether actions mean anything."""

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from cola_world.data.batches import Batch
from cola_world.metrics.codebook import codebook_metrics
from cola_world.metrics.intervals import of_mean
from cola_world.metrics.posterior import posterior_metrics
from cola_world.models.flow import FlowDraws
from cola_world.models.lam import LatentActions
from cola_world.models.system import System
from cola_world.training.phases import Phase

FEW_DRAWS, ENOUGH_DRAWS = 2, 8  # of noise, at every measurement and at snapshots


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
    system: System,
    phase: Phase,
    heldout: Batch,
    partners_N: Tensor | None = None,
    call: Callable[..., Any] | None = None,
    ranks: Ranks | None = None,
    chunk: int = 64,
    draws: int = FEW_DRAWS,
) -> dict[str, float]:
    """Return a flat dict of metrics on `heldout`, with the same noise and timesteps at every call, for every run and
    seed.

    `flow_loss` and `pixel_mse` are means over clips; the flow loss takes `draws` draws of noise. Each has a gap to
    the loss with other actions: `shuffle_gap` and `pixel_gap` with those of the clip that `partners_N` names (the
    next one where it is not given), `zero_gap` with actions of zero. A gap has the ends of its 95 % bootstrap
    interval over clips, `…_low` and `…_high`. It is zero if the model ignores its actions or they say nothing.
    `call(function, …)` runs a function of the system where the system lies.
    """
    held = HeldOut(system, heldout, call or (lambda function, *values: function(system, *values)), ranks or Alone(), chunk)
    metrics: dict[str, float] = {}
    actions = None
    if phase.actions != "none":
        parts = held.each(latent_actions, heldout.video)
        actions = held.gathered([part.z_BAMZ for part in parts]).flatten(2)
        metrics |= bottleneck_metrics(held, parts)
    tried = {} if actions is None else others(actions, partners_N)
    if "flow" in phase.losses:
        loss_N = held.flow_loss(actions, draws)
        metrics["flow_loss"] = loss_N.mean().item()
        for name, other in tried.items():
            metrics |= gap(f"{name}_gap", held.flow_loss(other, draws) - loss_N)
    if "pixel" in phase.losses:
        loss_N = held.pixel_loss(actions)
        metrics |= {"pixel_mse": loss_N.mean().item()}
        if tried:
            metrics |= gap("pixel_gap", held.pixel_loss(tried["shuffle"]) - loss_N)
    return metrics


def others(actions_NAZ: Tensor, partners_N: Tensor | None) -> dict[str, Tensor]:
    """Return the actions that a clip is tried with besides its own: another clip's, and none."""
    shuffled = actions_NAZ.roll(-1, 0) if partners_N is None else actions_NAZ[partners_N.to(actions_NAZ.device)]
    return {"shuffle": shuffled, "zero": torch.zeros_like(actions_NAZ)}


def gap(name: str, values_N: Tensor) -> dict[str, float]:
    """Return the mean over clips and the ends of its interval."""
    low, high = of_mean(values_N.double().cpu())
    return {name: values_N.mean().item(), f"{name}_low": low, f"{name}_high": high}


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

    def flow_loss(self, actions: Tensor | None, draws: int) -> Tensor:
        """Return the loss of each clip [N], its mean over draws of noise and timestep."""
        return torch.stack([self.drawn_flow_loss(actions, torch.Generator().manual_seed(seed)) for seed in range(draws)]).mean(0)

    def drawn_flow_loss(self, actions: Tensor | None, generator: torch.Generator) -> Tensor:
        draws = self.system.world_model.draw(self.clips.latents.shape, generator, drop=False)
        rates = self.clips.rates(self.system.config.stdit3.fps)
        values = (self.clips.latents, draws.t_B, draws.eps_BTCYX, rates, *([] if actions is None else [actions]))
        return self.gathered(self.each(flow_loss, *values))

    def pixel_loss(self, actions: Tensor | None) -> Tensor:
        """Return the FDM's loss of each clip [N]."""
        return self.gathered(self.each(pixel_loss, self.clips.video, *([] if actions is None else [actions])))


def latent_actions(system: System, video: Tensor) -> LatentActions:
    return system.lam.latent_actions(video)


def flow_loss(system: System, latents: Tensor, t_B: Tensor, eps: Tensor, fps_B: Tensor, actions: Tensor | None = None) -> Tensor:
    return system.world_model.loss(latents, actions, FlowDraws(t_B, eps, None), fps_B)


def pixel_loss(system: System, video: Tensor, actions: Tensor | None = None) -> Tensor:
    return system.lam.fdm.loss(system.lam.video(video), actions)


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
