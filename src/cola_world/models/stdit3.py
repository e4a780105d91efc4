"""STDiT3: OpenSora v1.2's spatial-temporal diffusion transformer without its text path (paper B.2).

Parameter names are those of the public `OpenSora-STDiT-v3` state dict.
Shape letters: B clips, T latent frames, C channels, Y X latent pixels, S patches of a frame, D width.
"""

import math
import re
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn

from cola_world.models.config import Config
from cola_world.models.layers import MLP, Attention, KVCache, RotaryEmbedding, in_fp32, initialise_linear, modulate, sincos_2d

PIXELS_PER_LATENT = 8  # along a side, of all public VAEs
BLOCK = re.compile(r"stdit3\.(?:spatial|temporal)_blocks\.(\d+)\.")


class STDiT3Config(Config):
    """XL/2: depth 28, width 1152, 16 heads, patches of 2 x 2 on 4 latent channels, positions for 512 px."""

    width: int
    depth: int
    heads: int
    channels: int = 4
    patch_size: int = 2
    pixel_size: int | Literal["clip"] = Field(256, description="side of the clips in pixels, or `clip`: eight times that of their latents")
    reference_size: int = 512
    # not in paper: because it names no frame rate, that of the data is taken clip by clip, and this one where none is known.
    fps: float = Field(10.0, gt=0, description="frames a second of clips that do not say theirs")
    # not in paper: because OpenSora v1.2 casts timesteps to the type of its weights, bf16, before it embeds them, its
    # public weights have met only those values, of which 123 lie above 512.
    bf16_timesteps: bool = False


def beyond_depth(name: str, depth: int) -> bool:
    """Tell whether a snapshot's parameter belongs to a block that a world model of `depth` pairs does not have.

    not in paper: because the paper says how many DiT blocks its smaller world models have but not which (D.6), they
    take the first of the pre-trained ones.
    """
    block = BLOCK.match(name)
    return block is not None and int(block[1]) >= depth


class ScalarEmbedder(nn.Module):
    """256-d sinusoid of a scalar (cosine half first), then a two-layer MLP; for timesteps and frame rates."""

    def __init__(self, width: int, frequencies: int = 256):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(frequencies, width), nn.SiLU(), nn.Linear(width, width))
        self.half = frequencies // 2

    @in_fp32
    def forward(self, value: Tensor) -> Tensor:
        # Made here, in fp32: a buffer would be rounded with the weights of a model in bf16.
        freqs = torch.exp(-math.log(10000.0) * torch.arange(self.half, device=value.device).float() / self.half)
        angles = value[..., None].float() * freqs
        embedding = torch.cat((angles.cos(), angles.sin()), dim=-1)
        return self.mlp(embedding.to(self.mlp[0].weight.dtype))


class STDiT3Block(nn.Module):
    """Attention and MLP, modulated and gated frame by frame."""

    def __init__(self, width: int, heads: int, causal: bool = False):
        super().__init__()
        self.attn = Attention(width, heads, norm=nn.RMSNorm, causal=causal)
        self.mlp = MLP(width, 4 * width)
        self.scale_shift_table = nn.Parameter(torch.randn(6, width) / width**0.5)

    def modulation(self, modulation_BT6D: Tensor) -> tuple[Tensor, ...]:
        return (self.scale_shift_table + modulation_BT6D)[:, :, :, None].unbind(2)

    def mix(self, x_BTSD: Tensor, rotary: tuple[Tensor, Tensor] | None, past: KVCache | None) -> Tensor:
        """Attend within each frame or, with `rotary`, along the time line of each patch."""
        if rotary is None:
            return self.attn(x_BTSD.flatten(0, 1)).unflatten(0, x_BTSD.shape[:2])
        y = self.attn(rearrange(x_BTSD, "b t s d -> (b s) t d"), rotary, past)
        return rearrange(y, "(b s) t d -> b t s d", b=len(x_BTSD))

    def forward(
        self,
        x_BTSD: Tensor,
        modulation_BT6D: Tensor,
        rotary: tuple[Tensor, Tensor] | None = None,
        past: KVCache | None = None,
    ) -> Tensor:
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = self.modulation(modulation_BT6D)
        x_BTSD = x_BTSD + gate_1 * self.mix(modulate(x_BTSD, shift_1, scale_1), rotary, past)
        return x_BTSD + gate_2 * self.mlp(modulate(x_BTSD, shift_2, scale_2))

    def cache_context(self, x_BTSD: Tensor, modulation_BT6D: Tensor, rotary: tuple[Tensor, Tensor], past: KVCache) -> None:
        """Compute only what later frames attend to: keys and values along time."""
        shift, scale = self.modulation(modulation_BT6D)[:2]
        y = rearrange(modulate(x_BTSD, shift, scale), "b t s d -> (b s) t d")
        past.append(*self.attn.project(y, rotary)[1:])


class Embedded(NamedTuple):
    """Patches, embedding of timestep and frame rate, modulation of each frame, and rotation by its position in time."""

    x_BTSD: Tensor
    t_BTD: Tensor
    modulation_BT6D: Tensor
    rotary: tuple[Tensor, Tensor]


class FinalLayer(nn.Module):
    """Modulated LayerNorm and a linear map to `2 * channels` values a latent pixel, of which the first half is used."""

    def __init__(self, config: STDiT3Config):
        super().__init__()
        self.linear = nn.Linear(config.width, 2 * config.channels * config.patch_size**2)
        self.scale_shift_table = nn.Parameter(torch.randn(2, config.width) / config.width**0.5)

    def forward(self, x_BTSD: Tensor, t_BTD: Tensor) -> Tensor:
        shift, scale = (self.scale_shift_table + t_BTD[:, :, None])[:, :, :, None].unbind(2)
        return self.linear(modulate(x_BTSD, shift, scale))


class PatchEmbedder(nn.Module):
    """The public `x_embedder`: a convolution whose kernel is its stride, one patch of one frame."""

    def __init__(self, config: STDiT3Config):
        super().__init__()
        kernel = (1, config.patch_size, config.patch_size)
        self.proj = nn.Conv3d(config.channels, config.width, kernel, stride=kernel)

    def forward(self, x_BTCYX: Tensor) -> Tensor:
        # A kernel that is its stride is a matrix product on folded patches, far faster than conv3d on a CPU.
        p = self.proj.kernel_size[-1]
        height, width = x_BTCYX.shape[-2:]
        if height % p or width % p:  # padded as in the public model; `forward` cuts it off again
            x_BTCYX = F.pad(x_BTCYX, (0, -width % p, 0, -height % p))
        patches = rearrange(x_BTCYX, "b t c (y p) (x q) -> b t (y x) (c p q)", p=p, q=p)
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class ContextCache:
    """Keys and values of the context frames, one `KVCache` per temporal block."""

    def __init__(self, depth: int, frames: int):
        self.frames = frames
        self.blocks = [KVCache() for _ in range(depth)]


class STDiT3(nn.Module):
    """Velocity of noised latent frames, given the timestep of each frame and the modulation by actions.

    The public model computes two modulations, for noised and for clean frames, and picks one frame by frame. Here
    every frame has its own timestep, which gives the same numbers at half the work. Causal time attention is the
    paper's addition (B.2).
    """

    def __init__(self, config: STDiT3Config):
        super().__init__()
        self.config = config
        width = config.width
        self.x_embedder = PatchEmbedder(config)
        self.t_embedder, self.fps_embedder = ScalarEmbedder(width), ScalarEmbedder(width)
        self.t_block = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.rope = RotaryEmbedding(width // config.heads)
        self.spatial_blocks = nn.ModuleList(STDiT3Block(width, config.heads) for _ in range(config.depth))
        self.temporal_blocks = nn.ModuleList(STDiT3Block(width, config.heads, causal=True) for _ in range(config.depth))
        self.final_layer = FinalLayer(config)
        self.initialise()

    def initialise(self) -> None:
        self.apply(initialise_linear)
        for embedder in (self.t_embedder, self.fps_embedder):
            nn.init.normal_(embedder.mlp[0].weight, std=0.02)
            nn.init.normal_(embedder.mlp[2].weight, std=0.02)
        nn.init.zeros_(self.fps_embedder.mlp[2].weight)
        nn.init.normal_(self.t_block[1].weight, std=0.02)
        for block in self.temporal_blocks:
            nn.init.zeros_(block.attn.proj.weight)
            nn.init.zeros_(block.mlp.fc2.weight)

    def set_causal(self, causal: bool) -> None:
        """Switch the temporal mask: off for OpenSora as published, on for a world model (paper B.2)."""
        for block in self.temporal_blocks:
            block.attn.causal = causal

    def side(self, height: int, width: int) -> float:
        """Return the side in pixels of clips whose latents are height x width: their geometric mean, or the config's."""
        size = self.config.pixel_size
        return PIXELS_PER_LATENT * math.sqrt(height * width) if size == "clip" else size

    def positions(self, rows: int, columns: int, side: float, device: torch.device) -> Tensor:
        """Return a 2-D table scaled so that positions mean the same at every resolution."""
        scale = side / self.config.reference_size
        base = round(math.sqrt(rows * columns))
        return sincos_2d(self.config.width, rows, columns, extent=base / scale, device=device)

    def grid(self, x_BTCYX: Tensor) -> tuple[int, int]:
        """Return rows and columns of patches; the last ones may reach beyond the latents."""
        rows, columns = (-(-size // self.config.patch_size) for size in x_BTCYX.shape[-2:])
        return rows, columns

    def embed(self, x_BTCYX: Tensor, t_BT: Tensor, action_BT6D: Tensor | None, fps_B: Tensor | None, start: int) -> Embedded:
        """Embed the inputs of the blocks; `start` is the position of the first frame in time."""
        positions_SD = self.positions(*self.grid(x_BTCYX), self.side(*x_BTCYX.shape[-2:]), x_BTCYX.device)
        x_BTSD = self.x_embedder(x_BTCYX) + positions_SD.to(x_BTCYX)
        rate_B1 = t_BT.new_full((1, 1), self.config.fps) if fps_B is None else fps_B[:, None]
        t_BTD = self.t_embedder(t_BT.bfloat16() if self.config.bf16_timesteps else t_BT) + self.fps_embedder(rate_B1)
        modulation = self.t_block(t_BTD).unflatten(-1, (6, self.config.width))
        if action_BT6D is not None:
            modulation = modulation + action_BT6D
        return Embedded(x_BTSD, t_BTD, modulation, self.rope(x_BTSD.shape[1], start))

    def cache_context(self, x_BTCYX: Tensor, action_BT6D: Tensor | None = None, fps_B: Tensor | None = None) -> ContextCache:
        """Run clean context frames once and keep what later frames attend to: keys and values of each temporal block."""
        past = ContextCache(self.config.depth, x_BTCYX.shape[1])
        x_BTSD, _, modulation, rotary = self.embed(x_BTCYX, x_BTCYX.new_zeros(x_BTCYX.shape[:2]), action_BT6D, fps_B, start=0)
        for spatial, temporal, own in zip(self.spatial_blocks, self.temporal_blocks, past.blocks, strict=True):
            x_BTSD = spatial(x_BTSD, modulation)
            if own is past.blocks[-1]:
                temporal.cache_context(x_BTSD, modulation, rotary, own)
            else:
                x_BTSD = temporal(x_BTSD, modulation, rotary, own)
        return past

    def forward(
        self, x_BTCYX: Tensor, t_BT: Tensor, action_BT6D: Tensor | None = None,
        past: ContextCache | None = None, fps_B: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """x: noised latents; t: timesteps in [0, 1000], 0 for clean frames; fps: frames a second of each clip, the
        config's if not given -> velocity, same shape as x, fp32.

        With `past`, x are the frames that follow the cached ones. Causal time attention and spatial attention within
        a frame make the result equal to that of one call with all frames.
        """
        x_BTSD, t_BTD, modulation, rotary = self.embed(x_BTCYX, t_BT, action_BT6D, fps_B, start=past.frames if past else 0)
        pasts = past.blocks if past else [None] * self.config.depth
        for spatial, temporal, before in zip(self.spatial_blocks, self.temporal_blocks, pasts, strict=True):
            x_BTSD = spatial(x_BTSD, modulation)
            x_BTSD = temporal(x_BTSD, modulation, rotary, before)
        out = self.final_layer(x_BTSD, t_BTD).float()
        p, (height, width) = self.config.patch_size, x_BTCYX.shape[-2:]
        out = rearrange(out, "b t (y x) (p q c) -> b t c (y p) (x q)", y=self.grid(x_BTCYX)[0], p=p, q=p)
        return out[:, :, : self.config.channels, :height, :width]
