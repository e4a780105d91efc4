"""VQ: the bottleneck that turns the IDM's output into code indices (van den Oord et al., 2017; paper B.1).

Shape letters: B clips, A actions, M tokens of an action, Z token size, K codes.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cola_world.models.config import Config
from cola_world.models.layers import in_fp32


class QuantizerConfig(Config):
    """Paper B.1: one codebook of 32 entries of 32 dimensions; no resets, no EMA."""

    codes: int = 32
    token_size: int = 32


class Quantized(NamedTuple):
    z_BAMZ: Tensor
    indices_BAM: Tensor
    vq_loss: Tensor
    commitment_loss: Tensor

    def losses(self) -> dict[str, Tensor]:
        """Return each loss under its name in the phase table."""
        return {"vq": self.vq_loss, "commitment": self.commitment_loss}


class VectorQuantizer(nn.Module):
    """Nearest code by Euclidean distance, with a straight-through gradient and both losses by gradient.

    All tokens share one codebook. Computes in fp32 whatever the autocast type, so that rounding does not pick the
    code.
    """

    def __init__(self, config: QuantizerConfig):
        super().__init__()
        self.config = config
        # not in paper: because the published LAM of the same authors does so, the codebook starts at U(-1/K, 1/K).
        bound = 1 / config.codes
        self.codebook = nn.Parameter(torch.empty(config.codes, config.token_size).uniform_(-bound, bound))

    @in_fp32
    def forward(self, z_BAMZ: Tensor, noise_BAMZ: Tensor | None = None) -> Quantized:
        """z: [B, A, M, Z], any float type -> quantised z with a straight-through gradient, indices, and the two mean
        losses.

        `noise` is for bottlenecks that sample; this one ignores it.
        """
        z = z_BAMZ.float()
        indices = self.nearest(z)
        code = self.codebook[indices]
        vq_loss = F.mse_loss(code, z.detach())
        commitment_loss = F.mse_loss(z, code.detach())
        return Quantized(z + (code - z).detach(), indices, vq_loss, commitment_loss)

    def nearest(self, z_BAMZ: Tensor) -> Tensor:
        distance = self.codebook.square().sum(-1) - 2 * z_BAMZ @ self.codebook.T
        return distance.argmin(-1)
