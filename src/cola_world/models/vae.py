"""VAE: a clip to normalised latents and back, behind one interface whatever the VAE (paper B.2).

`FrameVAE` is diffusers' AutoencoderKL frame by frame: a small one trained on the clips, or the public SDXL one.
OpenSora v1.2's own, which also joins four frames to a latent, is in `opensora_vae`.
Shape letters: B clips, T frames, N frames of any batch, L latent frames, C latent channels, Y X pixels, y x latent pixels.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file
from torch import Tensor, nn

from cola_world.models.vision import without_torchvision

# diffusers takes seconds to import, which steps that only read a VAE's configuration need not wait for.
if TYPE_CHECKING:
    from diffusers import AutoencoderKL

    from cola_world.models.opensora_vae import OpenSoraVAE

VAEKind = Literal["small", "sdxl", "opensora"]
FRAMES_PER_LATENT: dict[VAEKind, int] = {"small": 1, "sdxl": 1, "opensora": 4}
# Frames that OpenSora's VAE sees at once.
MICRO_FRAMES = 17
# A convolution at full resolution takes 128 values a pixel: so many pixels at a time keep within a gigabyte.
PIXELS_AT_A_TIME = 2**20


class VAEConfig(BaseModel):
    """Shape of a small AutoencoderKL; the public SDXL VAE has (128, 256, 512, 512) and two layers a block."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    channels: list[int]
    layers: int = 1
    groups: int = 8
    latent_channels: int = 4


SDXL = VAEConfig(channels=[128, 256, 512, 512], layers=2, groups=32)


class VAE(Protocol):
    """What the world model's inputs and outputs pass through; latents have about zero mean and unit variance."""

    frames_per_latent: int

    def encode(self, video_BTCYX: Tensor) -> Tensor:
        """RGB in [0, 1] [B, T, 3, Y, X] -> latents [B, L, C, y, x], the posterior's mean, so that it is one value."""

    def decode(self, latents_BLCyx: Tensor, frames: int) -> Tensor:
        """Latents of clips of `frames` frames -> RGB in [0, 1] [B, frames, 3, Y, X]."""

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(L, C, y, x) of a clip of T frames of Y x X pixels."""


def autoencoder_class() -> type[AutoencoderKL]:
    # torchvision, of which an AutoencoderKL has no use, would double the seconds.
    with without_torchvision():
        from diffusers import AutoencoderKL
    return AutoencoderKL


def build_autoencoder(config: VAEConfig) -> AutoencoderKL:
    levels = len(config.channels)
    return autoencoder_class()(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(config.channels),
        layers_per_block=config.layers,
        norm_num_groups=config.groups,
        latent_channels=config.latent_channels,
    )


def encode_frames(autoencoder: AutoencoderKL, frames_NCYX: Tensor) -> Tensor:
    """RGB in [0, 1], any leading axes -> the posterior's mean, unnormalised; a few frames at a time."""
    pixels = 2 * frames_NCYX.flatten(0, -4) - 1
    parts = pixels.split(max(1, PIXELS_AT_A_TIME // pixels[0, 0].numel()))
    means = [autoencoder.encode(part).latent_dist.mean for part in parts]
    return torch.cat(means).unflatten(0, frames_NCYX.shape[:-3])


def decode_frames(autoencoder: AutoencoderKL, latents_NCyx: Tensor) -> Tensor:
    """Unnormalised latents, any leading axes -> RGB in [0, 1]; a few frames at a time."""
    latents = latents_NCyx.flatten(0, -4)
    pixels_each = latents[0, 0].numel() * downsampling(autoencoder) ** 2
    parts = [autoencoder.decode(part).sample for part in latents.split(max(1, PIXELS_AT_A_TIME // pixels_each))]
    return (torch.cat(parts) / 2 + 0.5).clamp(0, 1).unflatten(0, latents_NCyx.shape[:-3])


def downsampling(autoencoder: AutoencoderKL) -> int:
    """Pixels to a latent pixel, along one axis."""
    return 2 ** (len(autoencoder.config.block_out_channels) - 1)


class FrameVAE(nn.Module):
    """Encodes and decodes frames one by one; `mean` and `std` make each latent channel zero-mean and unit-variance."""

    frames_per_latent = 1

    def __init__(self, autoencoder: AutoencoderKL, mean: list[float], std: list[float]):
        super().__init__()
        # Convolutions with the channels last encode 2.5 times faster on a CPU.
        self.autoencoder = autoencoder.requires_grad_(False).to(memory_format=torch.channels_last)
        self.register_buffer("mean_C11", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std_C11", torch.tensor(std).view(-1, 1, 1))

    @classmethod
    def load(cls, folder: Path) -> FrameVAE:
        """Read `folder` as written by diffusers' save_pretrained, with the statistics in `latent_statistics.json`."""
        statistics = json.loads((folder / "latent_statistics.json").read_text())
        return cls(autoencoder_class().from_pretrained(folder, use_safetensors=True), **statistics)

    @torch.no_grad()
    def encode(self, video_BTCYX: Tensor) -> Tensor:
        """As `VAE.encode`; the leading axes may be any, [N, 3, Y, X] too."""
        return (encode_frames(self.autoencoder, video_BTCYX) - self.mean_C11) / self.std_C11

    @torch.no_grad()
    def decode(self, latents_BLCyx: Tensor, frames: int | None = None) -> Tensor:
        """As `VAE.decode`; the leading axes may be any, and `frames` need not be told."""
        return decode_frames(self.autoencoder, latents_BLCyx * self.std_C11 + self.mean_C11)

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        factor = downsampling(self.autoencoder)
        return frames, self.autoencoder.config.latent_channels, height // factor, width // factor


def load_vae(folder: Path) -> FrameVAE | OpenSoraVAE:
    """The VAE that the stage `vae` wrote."""
    from cola_world.models.opensora_vae import OpenSoraVAE

    return (OpenSoraVAE if (folder / "opensora.json").exists() else FrameVAE).load(folder)


def read_sdxl(path: Path, config: VAEConfig = SDXL) -> AutoencoderKL:
    """The public SDXL autoencoder from a local folder of diffusers' form, or from its safetensors file alone.

    diffusers knows the older names of its attention layers. ValueError in one line for a file that is not of `config`.
    """
    if path.is_dir():
        return autoencoder_class().from_pretrained(path, use_safetensors=True, local_files_only=True).eval()
    check_exists(path)
    with TemporaryDirectory() as folder:
        build_autoencoder(config).save_config(folder)
        Path(folder, "diffusion_pytorch_model.safetensors").symlink_to(path.absolute())
        try:
            model, info = autoencoder_class().from_pretrained(folder, use_safetensors=True, output_loading_info=True)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{path}: does not fit the profile's vae.model ({str(error).partition(chr(10))[0]})") from None
    for fault in ("missing_keys", "unexpected_keys"):
        if info[fault]:
            raise ValueError(f"{path}: {fault.replace('_', ' ')}: {sorted(info[fault])[0]}; the profile's vae.model must be the file's")
    return model.eval()


def check_exists(file: Path) -> None:
    if not file.is_file():
        raise ValueError(f"vae: {file} does not exist; put the public weights there, or name where they are")


def read_weights(module: nn.Module, file: Path) -> nn.Module:
    """Fill the module from `file`, name for name; ValueError for any name or shape that differs."""
    check_exists(file)
    tensors, own = load_file(file), module.state_dict()
    wrong = sorted(own.keys() ^ tensors.keys()) or [name for name in own if own[name].shape != tensors[name].shape]
    if wrong:
        raise ValueError(f"vae: {file} does not fit: {wrong[0]} and {len(wrong) - 1} others are missing, unknown or of another shape")
    module.load_state_dict(tensors)
    return module
