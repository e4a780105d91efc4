"""VAE: diffusers' AutoencoderKL, frame by frame, with latents normalised by channel statistics measured on data.

Shape letters: N frames, C latent channels, Y X pixels, y x latent pixels.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

# diffusers takes seconds to import, which steps that only read a VAE's configuration need not wait for.
if TYPE_CHECKING:
    from diffusers import AutoencoderKL


class VAEConfig(BaseModel):
    """Shape of a small AutoencoderKL; the public SDXL VAE has (128, 256, 512, 512) and two layers a block."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    channels: list[int]
    layers: int = 1
    groups: int = 8
    latent_channels: int = 4


def build_autoencoder(config: VAEConfig) -> AutoencoderKL:
    from diffusers import AutoencoderKL

    levels = len(config.channels)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(config.channels),
        layers_per_block=config.layers,
        norm_num_groups=config.groups,
        latent_channels=config.latent_channels,
    )


class FrameVAE(nn.Module):
    """Encodes and decodes frames one by one; `mean` and `std` make each latent channel zero-mean and unit-variance."""

    def __init__(self, autoencoder: AutoencoderKL, mean: list[float], std: list[float]):
        super().__init__()
        self.autoencoder = autoencoder.requires_grad_(False)
        self.register_buffer("mean_C11", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std_C11", torch.tensor(std).view(-1, 1, 1))

    @classmethod
    def load(cls, folder: Path) -> FrameVAE:
        """Read `folder` as written by diffusers' save_pretrained, with the statistics in `latent_statistics.json`."""
        from diffusers import AutoencoderKL

        statistics = json.loads((folder / "latent_statistics.json").read_text())
        return cls(AutoencoderKL.from_pretrained(folder, use_safetensors=True), **statistics)

    @torch.no_grad()
    def encode(self, frames_NCYX: Tensor) -> Tensor:
        """RGB in [0, 1] [N, 3, Y, X] -> normalised latents [N, C, y, x] (the posterior's mean, so that it is one value)."""
        latents = self.autoencoder.encode(2 * frames_NCYX - 1).latent_dist.mean
        return (latents - self.mean_C11) / self.std_C11

    @torch.no_grad()
    def decode(self, latents_NCyx: Tensor) -> Tensor:
        """Normalised latents -> RGB in [0, 1]."""
        pixels = self.autoencoder.decode(latents_NCyx * self.std_C11 + self.mean_C11).sample
        return (pixels / 2 + 0.5).clamp(0, 1)
