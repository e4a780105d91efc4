"""Who learns from which loss: the paper's method is this table, and the one training loop reads it (paper 3.3, B.3)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cola_world.models.flow import FlowDraws
from cola_world.models.system import LatentActions, System


@dataclass(frozen=True)
class Phase:
    """`trains`: parts with gradients, all others are frozen; `losses`: what is summed; `crop`: random crop of the clip."""

    trains: tuple[str, ...]
    losses: tuple[str, ...]
    crop: bool
    causal: bool = True

    @property
    def uses_actions(self) -> bool:
        return self.causal

    @property
    def learns_actions(self) -> bool:
        return "idm" in self.trains

    @property
    def drives_world_model(self) -> bool:
        """Whether latent actions drive a world model when it is over."""
        return "action_adaln" in self.trains


LAM = ("idm", "quantizer")
VQ_LOSSES = ("vq", "commitment")
PHASES = {
    # not in paper: because no public checkpoint fits a small scale, a stand-in is pre-trained on video alone.
    "pretrain": Phase(("stdit3",), ("flow",), crop=False, causal=False),
    "lam": Phase((*LAM, "fdm"), ("pixel", *VQ_LOSSES), crop=True),
    "wm": Phase(("action_adaln", "stdit3"), ("flow",), crop=False),
    "warmup": Phase((*LAM, "action_adaln"), ("flow", *VQ_LOSSES), crop=True),
    "e2e": Phase((*LAM, "action_adaln", "stdit3"), ("flow", *VQ_LOSSES), crop=True),
    "finetune": Phase(("action_adaln", "stdit3"), ("flow",), crop=False),
}


def phase_of(name: str, bottleneck: str) -> Phase:
    """The table's row for a system with this bottleneck: a VAE has `kl` where VQ has its two losses (paper D.5)."""
    phase = PHASES[name]
    if bottleneck == "vq" or not phase.learns_actions:
        return phase
    return replace(phase, losses=(*(loss for loss in phase.losses if loss not in VQ_LOSSES), "kl"))


class Shapes(NamedTuple):
    """One clip, and its latents: (T, 3, Y, X) and (L, C, y, x)."""

    video: tuple[int, ...]
    latents: tuple[int, ...]


class Batch(NamedTuple):
    """RGB [B, T, 3, Y, X], uint8 or in [0, 1], and the same clips' VAE latents [B, L, C, y, x]; L = T where the VAE joins no frames."""

    video: Tensor
    latents: Tensor

    def each(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        return Batch(*map(function, self))


class Draws(NamedTuple):
    """The random numbers of a step's losses: of the posterior [B, A, M, Z] where actions are continuous, and of the flow loss.

    They belong to the whole batch; whoever computes some of its clips takes theirs, so that the result does not depend on
    how many devices there are.
    """

    posterior: Tensor | None
    flow: FlowDraws | None

    def each(self, function: Callable[[Tensor], Tensor]) -> "Draws":
        return Draws(
            None if self.posterior is None else function(self.posterior), None if self.flow is None else self.flow.each(function)
        )


def draw(system: System, phase: Phase, clips: int, like: Batch, generator: torch.Generator) -> Draws:
    """For a batch of `clips` clips that are shaped as those of `like`."""
    posterior = flow = None
    if phase.learns_actions and system.config.bottleneck == "vae":
        idm = system.config.idm
        posterior = torch.randn(clips, like.video.shape[1] - 1, idm.tokens, idm.token_size, generator=generator)
    if "flow" in phase.losses:
        flow = system.world_model.draw((clips, *like.latents.shape[1:]), generator, drop=phase.uses_actions)
    return Draws(posterior, flow)


def select_trainable(system: System, phase: Phase) -> dict[str, nn.Parameter]:
    """Freeze all but the phase's parts, set the temporal mask, and name the parameters that learn.

    A frozen part gets no weight gradients, while activation gradients still flow through it.
    """
    system.world_model.stdit3.set_causal(phase.causal)
    learning = {}
    for part, module in system.parts().items():
        for name, parameter in module.named_parameters():
            trains = part in phase.trains and not name.endswith("rope.freqs")
            parameter.requires_grad_(trains)
            if trains:
                learning[f"{part}.{name}"] = parameter
    return learning


def infer_actions(system: System, phase: Phase, video: Tensor, draws: Draws) -> LatentActions:
    """Latent actions, with gradients where they are learned.

    not in paper: because a frozen LAM is read as evaluation reads it, only one that learns samples its posterior.
    """
    if phase.learns_actions:
        return system.latent_actions(video, draws.posterior)
    with torch.no_grad():
        return system.latent_actions(video)


def phase_losses(system: System, phase: Phase, batch: Batch, draws: Draws) -> dict[str, Tensor]:
    """Each of the phase's losses as a scalar, unweighted."""
    video = system.lam_video(batch.video) if phase.uses_actions else None
    actions = None if video is None else infer_actions(system, phase, video, draws)
    action_BAZ = None if actions is None else actions.z_BAMZ.flatten(2)
    losses = {} if actions is None else actions.losses()
    if "pixel" in phase.losses:
        losses["pixel"] = system.fdm.loss(video, action_BAZ)
    if "flow" in phase.losses:
        losses["flow"] = system.world_model.loss(batch.latents, action_BAZ, draws.flow).mean()
    return {name: losses[name] for name in phase.losses}
