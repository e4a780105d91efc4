"""VAE bottleneck: continuous latent actions in the quantiser's place (paper D.5; Kingma & Welling, 2014).

Shape letters: B clips, A actions, M tokens of an action, Z token size.
"""

from typing import NamedTuple

from pydantic import Field
from torch import Tensor, nn

from cola_world.models.config import Config
from cola_world.models.layers import in_fp32, initialise_linear


class ContinuousConfig(Config):
    """Paper D.5: `kl_min` 10."""

    # not in paper: because the unit of `kl_min` is left open, it counts nats per latent action, summed over tokens
    # and dimensions as in AdaWorld; per dimension it would be 640 nats, while the codes it replaces carry ln 1024 =
    # 6.9.
    kl_min: float = Field(10.0, ge=0)


class Continuous(NamedTuple):
    """Latent actions and the posterior N(mean, exp(log_variance)) that they come from."""

    z_BAMZ: Tensor
    mean_BAMZ: Tensor
    log_variance_BAMZ: Tensor
    kl_loss: Tensor

    def losses(self) -> dict[str, Tensor]:
        """Return each loss under its name in the phase table."""
        return {"kl": self.kl_loss}


class ContinuousBottleneck(nn.Module):
    """Diagonal Gaussian posterior over each token against N(0, I), with a floor under its KL.

    Computes in fp32 whatever the autocast type, as the quantiser does.
    """

    def __init__(self, config: ContinuousConfig, token_size: int):
        super().__init__()
        self.config = config
        # not in paper: because the size of the latent is left open, it keeps the tokens of the codes, and one map
        # serves all tokens as one codebook does.
        self.moments = nn.Linear(token_size, 2 * token_size)
        self.apply(initialise_linear)

    @in_fp32
    def forward(self, x_BAMZ: Tensor, noise_BAMZ: Tensor | None = None) -> Continuous:
        """x: output of the IDM [B, A, M, Z], any float type -> a sample drawn with `noise` from N(0, 1), or the mean
        without it.
        """
        mean, log_variance = self.moments(x_BAMZ.float()).chunk(2, dim=-1)
        # exp() is of no use in fp32 beyond these bounds. Latent diffusion models clamp in the same way.
        log_variance = log_variance.clamp(-30, 20)
        z = mean if noise_BAMZ is None else mean + (log_variance / 2).exp() * noise_BAMZ
        # not in paper: because a still pair of frames may well cost nothing, the floor is put under the mean over the
        # batch (free bits, Kingma et al., 2016); the KL has no gradient below it.
        kl_loss = action_kl(mean, log_variance).mean().clamp(min=self.config.kl_min)
        return Continuous(z, mean, log_variance, kl_loss)


def action_kl(mean_BAMZ: Tensor, log_variance_BAMZ: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(0, I)) of each latent action in nats [B, A], summed over tokens and
    dimensions.
    """
    kl_BAMZ = (mean_BAMZ.square() + log_variance_BAMZ.exp() - 1 - log_variance_BAMZ) / 2
    return kl_BAMZ.sum((-2, -1))
