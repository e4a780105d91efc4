"""Who learns from which loss: the paper's method as a table, which the one training loop reads (paper 3.3, B.3)."""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Phase:
    """A row of the table.

    `trains`: parts with gradients; all others are frozen. `losses`: the losses that are summed. `actions`: whether
    the phase has latent actions, and whether they learn. `causal`: temporal mask of the world model. `crop`: random
    crop of the clip.
    """

    trains: tuple[str, ...]
    losses: tuple[str, ...]
    actions: Literal["none", "frozen", "learned"]
    causal: bool = True
    crop: bool = False

    @property
    def sees_video(self) -> bool:
        """Whether a loss or the actions need the LAM's view of the clip."""
        return self.actions != "none" or "pixel" in self.losses

    @property
    def drives_world_model(self) -> bool:
        """Whether latent actions drive a world model after the phase."""
        return "action_adaln" in self.trains


LAM = ("idm", "quantizer")
VQ_LOSSES = ("vq", "commitment")
PHASES = {
    # not in paper: because no public checkpoint fits a small scale, a stand-in is pre-trained on video alone.
    "pretrain": Phase(("stdit3",), ("flow",), "none", causal=False),
    "lam": Phase((*LAM, "fdm"), ("pixel", *VQ_LOSSES), "learned", crop=True),
    # not in paper: because a LAM that ignores its actions must be told from one that uses them, the FDM is also trained
    # without any.
    "fdm": Phase(("fdm",), ("pixel",), "none", crop=True),
    "wm": Phase(("action_adaln", "stdit3"), ("flow",), "frozen"),
    "warmup": Phase((*LAM, "action_adaln"), ("flow", *VQ_LOSSES), "learned", crop=True),
    "e2e": Phase((*LAM, "action_adaln", "stdit3"), ("flow", *VQ_LOSSES), "learned", crop=True),
    "finetune": Phase(("action_adaln", "stdit3"), ("flow",), "frozen"),
}


def phase_of(name: str, bottleneck: str) -> Phase:
    """Return the row for a bottleneck: a VAE has the loss `kl` in place of the two VQ losses (paper D.5)."""
    phase = PHASES[name]
    if bottleneck == "vq" or phase.actions != "learned":
        return phase
    return replace(phase, losses=(*(loss for loss in phase.losses if loss not in VQ_LOSSES), "kl"))
