"""Public weights as this workspace's models: OpenSora's STDiT3 without its text path, and AutoencoderKL."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from torch import Tensor

from cola_world.models.stdit3 import STDiT3, STDiT3Config
from cola_world.models.vae import VAEConfig, build_autoencoder
from cola_world.weights import WeightsError

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

# OpenSora's text path, which the paper removes (B.2).
TEXT = ("y_embedder.", ".cross_attn.")


def stdit3_tensors(path: Path, config: STDiT3Config) -> dict[str, Tensor]:
    """Parameters of `STDiT3(config)` in fp32 from a public state dict; WeightsError at the first that does not fit."""
    with torch.device("meta"):
        wanted = {name: parameter.shape for name, parameter in STDiT3(config).named_parameters()}
    with safe_open(path, framework="pt") as file:
        names = {name for name in file.keys() if not any(part in name for part in TEXT)}
        shapes = {name: torch.Size(file.get_slice(name).get_shape()) for name in names}
        for name in sorted(wanted.keys() | names):
            if wanted.get(name) != shapes.get(name):
                expected, found = (tuple(s[name]) if name in s else "none" for s in (wanted, shapes))
                raise WeightsError(f"{path}: {name}: expected {expected}, found {found}; the profile's system.stdit3 must be the file's")
        return {name: file.get_tensor(name).float() for name in sorted(wanted)}


def autoencoder(path: Path, config: VAEConfig) -> "AutoencoderKL":
    """AutoencoderKL of `config` with a public file's weights; diffusers knows the older names of its attention layers."""
    from diffusers import AutoencoderKL

    with TemporaryDirectory() as folder:
        build_autoencoder(config).save_config(folder)
        Path(folder, "diffusion_pytorch_model.safetensors").symlink_to(path.absolute())
        try:
            model, info = AutoencoderKL.from_pretrained(folder, use_safetensors=True, output_loading_info=True)
        except (ValueError, RuntimeError) as error:
            raise WeightsError(f"{path}: does not fit the profile's vae.model ({str(error).partition(chr(10))[0]})") from None
    for fault in ("missing_keys", "unexpected_keys"):
        if info[fault]:
            raise WeightsError(f"{path}: {fault.replace('_', ' ')}: {sorted(info[fault])[0]}; the profile's vae.model must be the file's")
    return model.eval()
