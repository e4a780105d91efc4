"""IDM: the inverse dynamics model, an ST-Transformer that reads a clip and writes latent actions (paper B.1).

Shape letters: B clips, T frames, A actions (= T - 1), S patches of a frame, D width, M action tokens, Z their size,
C colour channels, Y X pixels.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn

from cola_world.models.config import Config
from cola_world.models.layers import MLP, Attention, SwiGLU, initialise_linear, modulate, sincos_1d, sincos_2d
from cola_world.models.pixels import normalise_pixels


class IDMConfig(Config):
    """Paper B.1: 12 blocks, width 768, 12 heads, 224 px in patches of 14, two tokens of 32 dimensions."""

    image_size: int
    patch_size: int
    width: int
    depth: int
    heads: int
    tokens: int = 2
    token_size: int = 32
    # not in paper: because the paper does not say how the two frames of a pair are read; the published LAM of the same
    # authors takes their mean, which cancels much of the motion in a small model.
    pairs: Literal["mean", "difference", "both"] = Field("mean", description="what the readout sees of frames t and t + 1")


class STBlock(nn.Module):
    """Spatial attention, causal temporal attention, MLP; one gate for both attentions.

    not in paper: because the published LAM of the same authors does so, modulation is learned and unconditional, and
    the spatial gate also scales the attention along time.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.spatial = Attention(width, heads)
        self.temporal = Attention(width, heads, causal=True)
        self.mlp = MLP(width, 4 * width)
        self.scale_shift_table = nn.Parameter(torch.randn(6, width) / width**0.5)

    def forward(self, x_BTSD: Tensor, time_TD: Tensor | None) -> Tensor:
        frames = x_BTSD.shape[1]
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = self.scale_shift_table
        y = self.spatial(modulate(x_BTSD, shift_1, scale_1).flatten(0, 1))
        x_BTSD = x_BTSD + gate_1 * y.unflatten(0, (-1, frames))
        y = x_BTSD if time_TD is None else x_BTSD + time_TD[:, None]
        y = self.temporal(rearrange(y, "b t s d -> (b s) t d"))
        x_BTSD = x_BTSD + gate_1 * rearrange(y, "(b s) t d -> b t s d", s=x_BTSD.shape[2])
        return x_BTSD + gate_2 * self.mlp(modulate(x_BTSD, shift_2, scale_2))


class AttentionPooling(nn.Module):
    """`tokens` learned queries read the patches of a frame pair by cross-attention, then a SwiGLU MLP.

    not in paper: because the paper names no readout, it is that of the published LAM of the same authors: the queries
    take part in the residual, and a norm follows each of the two additions.
    """

    def __init__(self, config: IDMConfig):
        super().__init__()
        width, self.heads = config.width, config.heads
        self.queries = nn.Parameter(0.02 * torch.randn(config.tokens, width))
        self.pre = nn.Linear(2 * width if config.pairs == "both" else width, width)
        self.q, self.k, self.v, self.proj = (nn.Linear(width, width) for _ in range(4))
        self.attention_norm, self.mlp_norm = nn.RMSNorm(width, eps=1e-6), nn.RMSNorm(width, eps=1e-6)
        self.mlp = SwiGLU(width, 4 * width)
        self.out = nn.Linear(width, config.token_size)

    def forward(self, x_NSE: Tensor) -> Tensor:
        """x: patches of frame pairs [N, S, D], or [N, S, 2 D] if both frames are kept apart -> [N, tokens, token_size]."""
        x_NSD = self.pre(x_NSE)
        queries_NMD = self.queries.expand(len(x_NSD), -1, -1)
        projected = (self.q(queries_NMD), self.k(x_NSD), self.v(x_NSD))
        q, k, v = (rearrange(y, "n l (h k) -> n h l k", h=self.heads) for y in projected)
        attended_NMD = self.proj(rearrange(F.scaled_dot_product_attention(q, k, v), "n h m k -> n m (h k)"))
        pooled_NMD = normalised(self.attention_norm, queries_NMD + attended_NMD)
        return self.out(normalised(self.mlp_norm, pooled_NMD + self.mlp(pooled_NMD)))


def normalised(norm: nn.RMSNorm, x: Tensor) -> Tensor:
    """Normalise in the precision of the norm's weight, which stays fp32 where the forward is bf16."""
    return norm(x.to(norm.weight.dtype))


def read_pairs(x_BTSD: Tensor, pairs: str) -> Tensor:
    """Join the patches of frames t and t + 1 -> [B, T - 1, S, D], or [B, T - 1, S, 2 D] for `both`."""
    before, after = x_BTSD[:, :-1], x_BTSD[:, 1:]
    if pairs == "both":
        return torch.cat((before, after), dim=-1)
    return after - before if pairs == "difference" else (after + before) / 2


class IDM(nn.Module):
    """Clip to latent actions before quantisation; action a depends on frames 0 … a + 1 only."""

    def __init__(self, config: IDMConfig):
        super().__init__()
        self.config = config
        width, grid = config.width, config.image_size // config.patch_size
        self.patch = nn.Conv2d(3, width, config.patch_size, stride=config.patch_size)
        self.blocks = nn.ModuleList(STBlock(width, config.heads) for _ in range(config.depth))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.readout = AttentionPooling(config)
        self.register_buffer("positions_SD", sincos_2d(width, grid, grid), persistent=False)
        self.apply(initialise_linear)

    def forward(self, video_BTCYX: Tensor) -> Tensor:
        """video: RGB in [0, 1], [B, T, 3, size, size] -> latent actions [B, T - 1, tokens, token_size]."""
        batch, frames = video_BTCYX.shape[:2]
        patches = self.patch(normalise_pixels(video_BTCYX).flatten(0, 1))
        x_BTSD = rearrange(patches, "(b t) d y x -> b t (y x) d", b=batch) + self.positions_SD
        time_TD = sincos_1d(self.config.width, torch.arange(frames, device=x_BTSD.device)).to(x_BTSD)
        for index, block in enumerate(self.blocks):
            x_BTSD = block(x_BTSD, time_TD if index == 0 else None)
        pairs_BASD = read_pairs(self.norm(x_BTSD), self.config.pairs)
        return self.readout(pairs_BASD.flatten(0, 1)).unflatten(0, (batch, frames - 1))
