"""VAE: a clip to normalised latents and back, behind one interface for every kind (paper B.2).

`FrameVAE` is diffusers' AutoencoderKL frame by frame: a small one trained on the clips, or the public SDXL one.
`opensora_vae` has OpenSora v1.2's own, which also joins four frames to a latent.
Shape letters: B clips, T frames, N frames of any batch, L latent frames, C latent channels, Y X pixels, y x latent
pixels.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor, nn

from cola_world.models.autoencoder import autoencoder_class, decode_frames, downsampling, encode_frames
from cola_world.models.opensora_vae import OpenSoraVAE

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

VAEKind = Literal["small", "sdxl", "opensora"]
FRAMES_PER_LATENT: dict[VAEKind, int] = {"small": 1, "sdxl": 1, "opensora": 4}
# Rows of data/weights.yaml that take the place of a VAE, and what they are.
PUBLIC_VAES: dict[str, VAEKind] = {"sdxl_vae": "sdxl", "pixart_vae": "sdxl", "opensora_vae": "opensora"}


class VAE(Protocol):
    """The interface between pixels and the world model. Latents have about zero mean and unit variance."""

    frames_per_latent: int

    def encode(self, video_BTCYX: Tensor) -> Tensor:
        """Encode RGB in [0, 1] [B, T, 3, Y, X] -> latents [B, L, C, y, x], the posterior mean, so that the result is
        unique.
        """

    def decode(self, latents_BLCyx: Tensor, frames: int) -> Tensor:
        """Decode latents of clips of `frames` frames -> RGB in [0, 1] [B, frames, 3, Y, X]."""

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """Return (L, C, y, x) of a clip of T frames of Y x X pixels."""


class FrameVAE(nn.Module):
    """Encodes and decodes frames one by one. `mean` and `std` normalise each latent channel."""

    frames_per_latent = 1

    def __init__(self, autoencoder: AutoencoderKL, mean: list[float], std: list[float]):
        super().__init__()
        # Channels last makes encoding 2.5 times faster on a CPU.
        self.autoencoder = autoencoder.requires_grad_(False).to(memory_format=torch.channels_last)
        self.register_buffer("mean_C11", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std_C11", torch.tensor(std).view(-1, 1, 1))

    @classmethod
    def load(cls, folder: Path) -> FrameVAE:
        """Read a folder written by diffusers' save_pretrained, with the statistics in `latent_statistics.json`."""
        statistics = json.loads((folder / "latent_statistics.json").read_text())
        return cls(autoencoder_class().from_pretrained(folder, use_safetensors=True), **statistics)

    @torch.no_grad()
    def encode(self, video_BTCYX: Tensor) -> Tensor:
        """See `VAE.encode`. The leading axes may be any, such as [N, 3, Y, X]."""
        return (encode_frames(self.autoencoder, video_BTCYX) - self.mean_C11) / self.std_C11

    @torch.no_grad()
    def decode(self, latents_BLCyx: Tensor, frames: int | None = None) -> Tensor:
        """See `VAE.decode`. The leading axes may be any, and `frames` may be omitted."""
        return decode_frames(self.autoencoder, latents_BLCyx * self.std_C11 + self.mean_C11)

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        factor = downsampling(self.autoencoder)
        return frames, self.autoencoder.config.latent_channels, height // factor, width // factor


def load_vae(folder: Path) -> FrameVAE | OpenSoraVAE:
    """Load the VAE that the stage `vae` wrote."""
    return (OpenSoraVAE if (folder / "opensora.json").exists() else FrameVAE).load(folder)
