"""What a phase trains and by which losses, and the random numbers that the losses take."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cola_world.data.batches import Batch
from cola_world.models.flow import FlowDraws
from cola_world.models.lam import LatentActions
from cola_world.models.system import System
from cola_world.training.phases import Phase


def select_trainable(system: System, phase: Phase) -> dict[str, nn.Parameter]:
    """Freeze all but the parts of the phase, set the temporal mask, and return the parameters that learn by name.

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


class Draws(NamedTuple):
    """The random numbers of a step: of the posterior [B, A, M, Z] for continuous actions, and of the flow loss.

    They are drawn for the whole batch. A device takes those of its clips, so results do not depend on how many
    devices there are.
    """

    posterior: Tensor | None
    flow: FlowDraws | None

    def each(self, function: Callable[[Tensor], Tensor]) -> "Draws":
        return Draws(
            None if self.posterior is None else function(self.posterior), None if self.flow is None else self.flow.each(function)
        )


def draw(system: System, phase: Phase, clips: int, like: Batch, generator: torch.Generator) -> Draws:
    """Draw for a batch of `clips` clips shaped like those of `like`."""
    posterior = flow = None
    if phase.actions == "learned" and system.config.bottleneck == "vae":
        idm = system.config.idm
        posterior = torch.randn(clips, like.video.shape[1] - 1, idm.tokens, idm.token_size, generator=generator)
    if "flow" in phase.losses:
        flow = system.world_model.draw((clips, *like.latents.shape[1:]), generator, drop=phase.actions != "none")
    return Draws(posterior, flow)


def infer_actions(system: System, phase: Phase, video: Tensor, draws: Draws) -> LatentActions:
    """Infer latent actions, with gradients if they are learned.

    not in paper: because evaluation reads a frozen LAM by its posterior mean, training on a frozen LAM does so too.
    """
    if phase.actions == "learned":
        return system.lam.latent_actions(video, draws.posterior)
    with torch.no_grad():
        return system.lam.latent_actions(video)


def phase_losses(system: System, phase: Phase, batch: Batch, draws: Draws) -> dict[str, Tensor]:
    """Return each loss of the phase as an unweighted scalar."""
    video = system.lam.video(batch.video) if phase.sees_video else None
    actions = None if phase.actions == "none" else infer_actions(system, phase, video, draws)
    action_BAZ = None if actions is None else actions.z_BAMZ.flatten(2)
    losses = {} if actions is None else actions.losses()
    if "pixel" in phase.losses:
        losses["pixel"] = system.lam.fdm.loss(video, action_BAZ).mean()
    if "flow" in phase.losses:
        losses["flow"] = system.world_model.loss(batch.latents, action_BAZ, draws.flow, batch.fps).mean()
    return {name: losses[name] for name in phase.losses}
