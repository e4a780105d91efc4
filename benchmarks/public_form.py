"""OpenSora v1.2's STDiT3 in the straightforward form of the public design, written anew from its description.

Every frame is modulated twice, with its own timestep and as a clean frame of t = 0, and a mask picks one result; attention
is an explicit softmax; patches are folded by a 3-D convolution; a sampler runs the whole clip at every step.
Parameter names are the public ones, so that one state dict fits this and `cola_world.models.stdit3.STDiT3`.
Shape letters: B clips, T frames, S patches of a frame, D width, N batch of an attention, L its length, H heads, K head size.
"""

import math

import torch
from torch import Tensor, nn

CAPTION, TEXT_LENGTH = 4096, 300


class RMSNorm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        y = x.float()
        return self.weight * (y / (y.square().mean(-1, keepdim=True) + 1e-6).sqrt()).to(x.dtype)


class Rope(nn.Module):
    def __init__(self, head_size: int):
        super().__init__()
        self.freqs = nn.Parameter(1 / 10000 ** (torch.arange(0, head_size, 2).float() / head_size), requires_grad=False)

    def forward(self, x_NHLK: Tensor) -> Tensor:
        """Each pair of neighbouring values as a complex number, turned by its angle."""
        angles = torch.arange(x_NHLK.shape[2], device=x_NHLK.device).to(self.freqs)[:, None] * self.freqs
        pairs = torch.view_as_complex(x_NHLK.float().unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2).to(x_NHLK.dtype)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.q_norm, self.k_norm = RMSNorm(width // heads), RMSNorm(width // heads)

    def forward(self, x_NLD: Tensor, rope: Rope | None, causal: bool) -> Tensor:
        q, k, v = self.qkv(x_NLD).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = rope(q), rope(k)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        if causal:
            scores = scores + torch.full_like(scores[0, 0], -math.inf).triu(1)
        return self.proj((scores.float().softmax(-1).to(v.dtype) @ v).transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Only its parameters count here: the paper drops the text path, and so does every forward of this file."""

    def __init__(self, width: int):
        super().__init__()
        self.q_linear, self.kv_linear, self.proj = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int, out: int | None = None):
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, out or width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Captions(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.y_proj = Mlp(CAPTION, width, width)
        self.register_buffer("y_embedding", torch.zeros(TEXT_LENGTH, CAPTION))


def picked(mask_BT: Tensor, noised_BTSD: Tensor, clean_BTSD: Tensor) -> Tensor:
    """The first where the frame is noised, the second where it is context."""
    return torch.where(mask_BT[:, :, None, None], noised_BTSD, clean_BTSD)


class Block(nn.Module):
    def __init__(self, width: int, heads: int, text: bool, temporal: bool):
        super().__init__()
        self.temporal = temporal
        self.attn, self.mlp = Attention(width, heads), Mlp(width, 4 * width)
        self.scale_shift_table = nn.Parameter(torch.randn(6, width) / width**0.5)
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        if text:
            self.cross_attn = CrossAttention(width)

    def attend(self, x_BTSD: Tensor, rope: Rope, causal: bool) -> Tensor:
        batch, frames = x_BTSD.shape[:2]
        if not self.temporal:
            return self.attn(x_BTSD.flatten(0, 1), None, False).unflatten(0, (batch, frames))
        return self.attn(x_BTSD.transpose(1, 2).flatten(0, 1), rope, causal).unflatten(0, (batch, -1)).transpose(1, 2)

    def forward(self, x: Tensor, noised: Tensor, clean: Tensor, mask_BT: Tensor, rope: Rope, causal: bool) -> Tensor:
        """`noised`, `clean`: modulations [B, T, 6, D] of both kinds of frame, of which each frame takes one."""
        table = self.scale_shift_table
        own, other = ((table + kind)[:, :, :, None].unbind(2) for kind in (noised, clean))
        for first, layer in ((0, lambda y: self.attend(y, rope, causal)), (3, self.mlp)):
            normed = self.norm(x)
            y = picked(mask_BT, *(normed * (1 + kind[first + 1]) + kind[first] for kind in (own, other)))
            y = layer(y)
            x = x + picked(mask_BT, own[first + 2] * y, other[first + 2] * y)
        return x


class FinalLayer(nn.Module):
    def __init__(self, width: int, channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.linear = nn.Linear(width, 4 * 2 * channels)
        self.scale_shift_table = nn.Parameter(torch.randn(2, width) / width**0.5)

    def forward(self, x: Tensor, t_BTD: Tensor, t0_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        normed, kinds = self.norm(x), []
        for t in (t_BTD, t0_BTD):
            shift, scale = (self.scale_shift_table + t[:, :, None])[:, :, :, None].unbind(2)
            kinds.append(normed * (1 + scale) + shift)
        return self.linear(picked(mask_BT, *kinds))


class Embedder(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, value: Tensor) -> Tensor:
        angles = value[..., None].float() * 10000 ** (-torch.arange(128, device=value.device).float() / 128)
        return self.mlp(torch.cat((angles.cos(), angles.sin()), -1).to(self.mlp[0].weight))


class PatchEmbedder(nn.Module):
    def __init__(self, channels: int, width: int):
        super().__init__()
        self.proj = nn.Conv3d(channels, width, (1, 2, 2), stride=(1, 2, 2))

    def forward(self, x_BTCYX: Tensor) -> Tensor:
        return self.proj(x_BTCYX.transpose(1, 2)).flatten(3).permute(0, 2, 3, 1)


class PublicSTDiT3(nn.Module):
    """`text`: with the parameters of the text path, which no forward uses."""

    def __init__(self, width: int, depth: int, heads: int, channels: int = 4, text: bool = False):
        super().__init__()
        self.width, self.channels = width, channels
        self.x_embedder = PatchEmbedder(channels, width)
        self.t_embedder, self.fps_embedder = Embedder(width), Embedder(width)
        self.t_block = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.rope = Rope(width // heads)
        self.spatial_blocks, self.temporal_blocks = (
            nn.ModuleList(Block(width, heads, text, temporal) for _ in range(depth)) for temporal in (False, True)
        )
        self.final_layer = FinalLayer(width, channels)
        if text:
            self.y_embedder = Captions(width)

    def positions(self, rows: int, columns: int, scale: float) -> Tensor:
        """Sines, then cosines, of the column, and the same of the row; a grid of base sqrt(S) spread over `scale`."""
        base, quarter = round(math.sqrt(rows * columns)), self.width // 4
        omega = 10000.0 ** (-torch.arange(quarter).double() / quarter)
        y, x = (torch.arange(n).double() / scale * base / n for n in (rows, columns))
        grid = (x[None].expand(rows, -1).flatten(), y[:, None].expand(-1, columns).flatten())
        return torch.cat([wave(axis[:, None] * omega) for axis in grid for wave in (torch.sin, torch.cos)], -1)

    def forward(self, x, t_B, mask_BT, fps: float, scale: float, action_BT6D=None, causal: bool = False) -> Tensor:
        """x [B, T, C, Y, X]; t [B] in [0, 1000] of the noised frames; mask [B, T], True: noised; scale: side in 512 px."""
        rows, columns = x.shape[-2] // 2, x.shape[-1] // 2
        h = self.x_embedder(x) + self.positions(rows, columns, scale).to(x)
        rate = self.fps_embedder(t_B.new_full((1,), fps))
        t, t0 = (self.t_embedder(value) + rate for value in (t_B, torch.zeros_like(t_B)))
        modulations = [self.t_block(value).unflatten(-1, (6, self.width))[:, None] for value in (t, t0)]
        if action_BT6D is not None:
            modulations = [modulation + action_BT6D for modulation in modulations]
        for spatial, temporal in zip(self.spatial_blocks, self.temporal_blocks, strict=True):
            for block in (spatial, temporal):
                h = block(h, *modulations, mask_BT, self.rope, causal)
        out = self.final_layer(h, t[:, None], t0[:, None], mask_BT).float()
        out = out.unflatten(2, (rows, columns)).unflatten(-1, (2, 2, -1)).permute(0, 1, 6, 2, 4, 3, 5)
        return out.flatten(5, 6).flatten(3, 4)[:, :, : self.channels]
