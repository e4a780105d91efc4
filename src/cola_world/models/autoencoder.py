"""diffusers' AutoencoderKL: built, read from public files, and run on many frames a few at a time.

Shape letters: N frames of any batch, C latent channels, Y X pixels, y x latent pixels.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cola_world.models.config import Config
from cola_world.models.torchvision_import import without_torchvision

# Importing diffusers takes seconds. Steps that only read a config need not wait for it.
if TYPE_CHECKING:
    from diffusers import AutoencoderKL

# A convolution at full resolution takes 128 values a pixel. This many pixels at a time keep it within a gigabyte.
PIXELS_AT_A_TIME = 2**20


class VAEConfig(Config):
    """Shape of a small AutoencoderKL; the public SDXL VAE has (128, 256, 512, 512) and two layers a block."""

    channels: list[int]
    layers: int = 1
    groups: int = 8
    latent_channels: int = 4


SDXL = VAEConfig(channels=[128, 256, 512, 512], layers=2, groups=32)


def autoencoder_class() -> type[AutoencoderKL]:
    # AutoencoderKL does not need torchvision, which would double the import time.
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
    """Encode RGB in [0, 1] with any leading axes -> unnormalised posterior means, a few frames at a time."""
    pixels = 2 * frames_NCYX.flatten(0, -4) - 1
    parts = pixels.split(max(1, PIXELS_AT_A_TIME // pixels[0, 0].numel()))
    means = [autoencoder.encode(part).latent_dist.mean for part in parts]
    return torch.cat(means).unflatten(0, frames_NCYX.shape[:-3])


def decode_frames(autoencoder: AutoencoderKL, latents_NCyx: Tensor) -> Tensor:
    """Decode unnormalised latents with any leading axes -> RGB in [0, 1], a few frames at a time."""
    latents = latents_NCyx.flatten(0, -4)
    pixels_each = latents[0, 0].numel() * downsampling(autoencoder) ** 2
    parts = [autoencoder.decode(part).sample for part in latents.split(max(1, PIXELS_AT_A_TIME // pixels_each))]
    return (torch.cat(parts) / 2 + 0.5).clamp(0, 1).unflatten(0, latents_NCyx.shape[:-3])


def downsampling(autoencoder: AutoencoderKL) -> int:
    """Return the number of pixels to a latent pixel, along one axis."""
    return 2 ** (len(autoencoder.config.block_out_channels) - 1)


def read_sdxl(path: Path, config: VAEConfig = SDXL) -> AutoencoderKL:
    """Read the public SDXL autoencoder from a folder in diffusers' layout, or from its safetensors file alone.

    diffusers maps the older names of its attention layers. Raises ValueError in one line for a file that does not fit
    `config`.
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
    """Load `file` into the module, name for name. Raises ValueError for any name or shape that differs."""
    check_exists(file)
    tensors, own = load_file(file), module.state_dict()
    wrong = sorted(own.keys() ^ tensors.keys()) or [name for name in own if own[name].shape != tensors[name].shape]
    if wrong:
        raise ValueError(f"vae: {file} does not fit: {wrong[0]} and {len(wrong) - 1} others are missing, unknown or of another shape")
    module.load_state_dict(tensors)
    return module
