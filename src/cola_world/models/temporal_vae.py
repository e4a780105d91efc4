"""OpenSora v1.2's temporal VAE: four frames of spatial latents to one, causally (Zheng et al., 2024).

Parameter names are those below `temporal_vae` in the public `OpenSora-VAE-v1.2` state dict.
Shape letters: B clips, C channels, F frames, T latent frames, Y X latent pixels.
"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from cola_world.models.config import Config


class TemporalVAEConfig(Config):
    """The published shape; frames are halved after each of the last `halvings` levels before the deepest."""

    channels: int = 4
    width: int = 128
    multipliers: list[int] = [1, 2, 2, 4]
    res_blocks: int = 4
    groups: int = 32
    halvings: int = 2

    @property
    def widths(self) -> list[int]:
        return [self.width * multiplier for multiplier in self.multipliers]

    def halves(self, level: int) -> bool:
        """Tell whether the number of frames is halved between `level` and the next."""
        return level >= len(self.multipliers) - 1 - self.halvings


class CausalConv3d(nn.Module):
    """Convolution over time and space, padded with zeros in front so that no output frame sees a later input frame."""

    def __init__(self, channels: int, out: int, kernel: int = 3, stride: int = 1, bias: bool = True):
        super().__init__()
        self.conv = nn.Conv3d(channels, out, kernel, stride=(stride, 1, 1), bias=bias)
        self.padding = (*(kernel // 2,) * 4, kernel - stride, 0)

    def forward(self, x_BCFYX: Tensor) -> Tensor:
        return self.conv(F.pad(x_BCFYX, self.padding))


class ResBlock(nn.Module):
    """Two normalised convolutions around a shortcut.

    The published GroupNorm pools over all frames of a clip. Only through it does a later frame reach an earlier
    latent.
    """

    def __init__(self, channels: int, out: int, groups: int):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(groups, channels), nn.GroupNorm(groups, out)
        self.conv1 = CausalConv3d(channels, out, bias=False)
        self.conv2 = CausalConv3d(out, out, bias=False)
        self.conv3 = CausalConv3d(channels, out, kernel=1, bias=False) if channels != out else nn.Identity()

    def forward(self, x_BCFYX: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x_BCFYX)))
        return self.conv3(x_BCFYX) + self.conv2(F.silu(self.norm2(y)))


def stack(config: TemporalVAEConfig, channels: int, out: int) -> nn.ModuleList:
    inputs = [channels, *[out] * (config.res_blocks - 1)]
    return nn.ModuleList(ResBlock(size, out, config.groups) for size in inputs)


class TemporalEncoder(nn.Module):
    """Levels of residual blocks, some followed by a convolution of stride 2 in time."""

    def __init__(self, config: TemporalVAEConfig):
        super().__init__()
        widths = config.widths
        self.conv_in = CausalConv3d(config.channels, widths[0], bias=False)
        self.block_res_blocks = nn.ModuleList(map(stack, [config] * len(widths), [widths[0], *widths], widths))
        self.conv_blocks = nn.ModuleList(
            CausalConv3d(width, width, stride=2) if config.halves(level) else nn.Identity()
            for level, width in enumerate(widths[:-1])
        )
        self.res_blocks = stack(config, widths[-1], widths[-1])
        self.norm1 = nn.GroupNorm(config.groups, widths[-1])
        self.conv2 = CausalConv3d(widths[-1], 2 * config.channels, kernel=1)

    def forward(self, x_BCFYX: Tensor) -> Tensor:
        """F a multiple of the time factor -> mean and log variance of the posterior, stacked: [B, 2C, T, Y, X]."""
        x = self.conv_in(x_BCFYX)
        for level, blocks in enumerate(self.block_res_blocks):
            x = run(blocks, x)
            if level < len(self.conv_blocks):
                x = self.conv_blocks[level](x)
        return self.conv2(F.silu(self.norm1(run(self.res_blocks, x))))


class TemporalDecoder(nn.Module):
    """Mirror of the encoder. Where the encoder halves the frames, twice the channels are split into twice the frames."""

    def __init__(self, config: TemporalVAEConfig):
        super().__init__()
        widths = config.widths
        self.conv1 = CausalConv3d(config.channels, widths[-1])
        self.res_blocks = stack(config, widths[-1], widths[-1])
        # Listed in the order of the encoder's levels and run in reverse.
        self.block_res_blocks = nn.ModuleList(map(stack, [config] * len(widths), [*widths[1:], widths[-1]], widths))
        self.conv_blocks = nn.ModuleList(
            CausalConv3d(width, 2 * width) if config.halves(level) else nn.Identity()
            for level, width in enumerate(widths[1:])
        )
        self.norm1 = nn.GroupNorm(config.groups, widths[0])
        self.conv_out = CausalConv3d(widths[0], config.channels)

    def forward(self, z_BCTYX: Tensor) -> Tensor:
        x = run(self.res_blocks, self.conv1(z_BCTYX))
        for level in reversed(range(len(self.block_res_blocks))):
            x = run(self.block_res_blocks[level], x)
            if level > 0:
                x = self.conv_blocks[level - 1](x)
                doubled = 1 if isinstance(self.conv_blocks[level - 1], nn.Identity) else 2
                x = rearrange(x, "b (c n) t y x -> b c (t n) y x", n=doubled)
        return self.conv_out(F.silu(self.norm1(x)))


def run(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    for block in blocks:
        x = block(x)
    return x


class TemporalVAE(nn.Module):
    """Maps 1 + 4n frames to 1 + n latents, the first from frame 0 alone. Other lengths are padded in front to a
    multiple of 4.
    """

    def __init__(self, config: TemporalVAEConfig):
        super().__init__()
        self.config, self.factor = config, 2**config.halvings
        self.encoder, self.decoder = TemporalEncoder(config), TemporalDecoder(config)
        self.quant_conv = CausalConv3d(2 * config.channels, 2 * config.channels, kernel=1)
        self.post_quant_conv = CausalConv3d(config.channels, config.channels, kernel=1)

    def encode(self, x_BCFYX: Tensor) -> Tensor:
        """Spatial latents [B, C, F, Y, X] -> the posterior's mean [B, C, ceil(F / 4), Y, X]."""
        padded = F.pad(x_BCFYX, (0, 0, 0, 0, -x_BCFYX.shape[2] % self.factor, 0))
        return self.quant_conv(self.encoder(padded)).chunk(2, dim=1)[0]

    def decode(self, z_BCTYX: Tensor, frames: int) -> Tensor:
        """Latents of `frames` frames, T = ceil(frames / 4) -> [B, C, frames, Y, X]."""
        return self.decoder(self.post_quant_conv(z_BCTYX))[:, :, -frames % self.factor :]
