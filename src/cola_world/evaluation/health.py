"""The state of a run on its fixed held-out clips: the bottleneck's health, losses, and whether the actions mean anything."""

import torch

from cola_world.evaluation.codebook import codebook_metrics
from cola_world.evaluation.posterior import posterior_metrics
from cola_world.models.system import LatentActions, System
from cola_world.training.phases import Batch, Phase


@torch.no_grad()
def measure(system: System, phase: Phase, heldout: Batch, chunk: int = 64) -> dict[str, float]:
    """Flat dict of metrics on `heldout`; the same noise and timesteps at every call, for every run and every seed.

    `shuffle_gap` is the rise of the flow loss when each clip is given another clip's actions: zero when the world
    model does not listen or the actions say nothing.
    """
    metrics: dict[str, float] = {}
    actions = None
    if phase.uses_actions:
        parts = [system.latent_actions(video) for video in heldout.video.split(chunk)]
        actions = torch.cat([part.z_BAMZ for part in parts]).flatten(2)
        metrics |= bottleneck_metrics(system, parts)
    if "flow" in phase.losses:
        metrics["flow_loss"] = flow_loss(system, heldout, actions, chunk)
    if "flow" in phase.losses and actions is not None:
        shuffled = flow_loss(system, heldout, actions.roll(1, 0), chunk)
        metrics["shuffle_gap"] = shuffled - metrics["flow_loss"]
    if "pixel" in phase.losses:
        pairs = zip(heldout.video.split(chunk), actions.split(chunk), strict=True)
        losses = [system.fdm.loss(system.lam_video(video), part) for video, part in pairs]
        metrics["pixel_mse"] = torch.stack(losses).mean().item()
    return metrics


def bottleneck_metrics(system: System, parts: list[LatentActions]) -> dict[str, float]:
    """Codebook metrics for VQ; for a VAE, which has no codes, those of its posterior."""
    if system.config.bottleneck == "vae":
        mean = torch.cat([part.mean_BAMZ for part in parts])
        log_variance = torch.cat([part.log_variance_BAMZ for part in parts])
        return posterior_metrics(mean.flatten(0, 1), log_variance.flatten(0, 1))
    indices = torch.cat([part.indices_BAM for part in parts])
    metrics = codebook_metrics(indices.flatten(0, 1), system.config.quantizer.codes)
    return metrics | {"vq_loss": torch.stack([part.vq_loss for part in parts]).mean().item()}


def flow_loss(system: System, heldout: Batch, actions: torch.Tensor | None, chunk: int) -> float:
    generator = torch.Generator().manual_seed(0)
    parts = [None] * len(heldout.latents) if actions is None else actions.split(chunk)
    losses = [
        system.world_model.loss(latents, part, generator, drop=False)
        for latents, part in zip(heldout.latents.split(chunk), parts, strict=False)
    ]
    return torch.cat(losses).mean().item()
