"""IDM: the inverse dynamics model, an ST-Transformer that reads a clip and writes latent actions (paper B.1).

Shape letters: B clips, T frames, A actions (= T - 1), S patches of a frame, D width, M action tokens, Z their size,
C colour channels, Y X pixels.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
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


class STBlock(nn.Module):
    """Spatial attention, causal temporal attention, MLP; the modulation is learned but unconditional."""

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
        x_BTSD = x_BTSD + rearrange(y, "(b s) t d -> b t s d", s=x_BTSD.shape[2])
        return x_BTSD + gate_2 * self.mlp(modulate(x_BTSD, shift_2, scale_2))


class AttentionPooling(nn.Module):
    """`tokens` learned queries read the patches of a frame pair by cross-attention, then a SwiGLU MLP."""

    def __init__(self, width: int, heads: int, tokens: int, token_size: int):
        super().__init__()
        self.heads = heads
        self.queries = nn.Parameter(torch.randn(tokens, width) / width**0.5)
        self.pre = nn.Linear(width, width)
        self.q, self.k, self.v, self.proj = (nn.Linear(width, width) for _ in range(4))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.mlp = SwiGLU(width, 4 * width)
        self.out = nn.Linear(width, token_size)

    def forward(self, x_NSD: Tensor) -> Tensor:
        x_NSD = self.pre(x_NSD)
        queries = self.q(self.queries).expand(len(x_NSD), -1, -1)
        q, k, v = (rearrange(y, "n l (h k) -> n h l k", h=self.heads) for y in (queries, self.k(x_NSD), self.v(x_NSD)))
        pooled = rearrange(F.scaled_dot_product_attention(q, k, v), "n h m k -> n m (h k)")
        pooled_NMD = self.proj(pooled)
        return self.out(pooled_NMD + self.mlp(self.norm(pooled_NMD.to(self.norm.weight.dtype))))


class IDM(nn.Module):
    """Clip to latent actions before quantisation; action a depends on frames 0 … a + 1 only."""

    def __init__(self, config: IDMConfig):
        super().__init__()
        self.config = config
        width, grid = config.width, config.image_size // config.patch_size
        self.patch = nn.Conv2d(3, width, config.patch_size, stride=config.patch_size)
        self.blocks = nn.ModuleList(STBlock(width, config.heads) for _ in range(config.depth))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.readout = AttentionPooling(width, config.heads, config.tokens, config.token_size)
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
        x_BTSD = self.norm(x_BTSD)
        pairs_BASD = (x_BTSD[:, 1:] + x_BTSD[:, :-1]) / 2
        return self.readout(pairs_BASD.flatten(0, 1)).unflatten(0, (batch, frames - 1))
