"""VAE bottleneck: continuous latent actions in the quantiser's place (paper D.5; Kingma & Welling, 2014).

Shape letters: B clips, A actions, M tokens of an action, Z token size.
"""

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from cola_world.models.layers import in_fp32, initialise_linear


class ContinuousConfig(BaseModel):
    """Paper D.5: `kl_min` 10."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    # not in paper: because its unit is left open, it is taken as nats a latent action, tokens and dimensions summed as
    # AdaWorld sums them: for each of 64 dimensions it would be 640 nats, where the codes replaced carry ln 1024 = 6.9.
    kl_min: float = Field(10.0, ge=0)


class Continuous(NamedTuple):
    """Latent actions and the posterior N(mean, exp(log_variance)) that they come from."""

    z_BAMZ: Tensor
    mean_BAMZ: Tensor
    log_variance_BAMZ: Tensor
    kl_loss: Tensor

    def losses(self) -> dict[str, Tensor]:
        """Loss by its name in the phase table."""
        return {"kl": self.kl_loss}


class ContinuousBottleneck(nn.Module):
    """Diagonal Gaussian posterior over each token against N(0, I), with a floor under its KL.

    Computed in fp32 whatever the autocast type, as the quantiser is.
    """

    def __init__(self, config: ContinuousConfig, token_size: int):
        super().__init__()
        self.config = config
        # not in paper: because the latent's size is left open, it keeps the tokens of the codes; as one codebook does, one
        # map serves all of them.
        self.moments = nn.Linear(token_size, 2 * token_size)
        self.apply(initialise_linear)

    @in_fp32
    def forward(self, x_BAMZ: Tensor, noise_BAMZ: Tensor | None = None) -> Continuous:
        """x: the IDM's output [B, A, M, Z], any float type -> a sample by `noise` of N(0, 1); without it, the mean."""
        mean, log_variance = self.moments(x_BAMZ.float()).chunk(2, dim=-1)
        # Beyond these bounds exp() is of no use in fp32; latent diffusion models clamp alike.
        log_variance = log_variance.clamp(-30, 20)
        z = mean if noise_BAMZ is None else mean + (log_variance / 2).exp() * noise_BAMZ
        # not in paper: because the floor is to hold on average, and a still pair of frames may well cost nothing, it is put
        # under the batch's mean (free bits, Kingma et al., 2016): below it the KL has no gradient.
        kl_loss = action_kl(mean, log_variance).mean().clamp(min=self.config.kl_min)
        return Continuous(z, mean, log_variance, kl_loss)


def action_kl(mean_BAMZ: Tensor, log_variance_BAMZ: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, I)) of each latent action in nats [B, A], summed over its tokens and dimensions."""
    kl_BAMZ = (mean_BAMZ.square() + log_variance_BAMZ.exp() - 1 - log_variance_BAMZ) / 2
    return kl_BAMZ.sum((-2, -1))
