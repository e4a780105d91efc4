"""OpenSora v1.2's VAE: SDXL's frame by frame, then a temporal one that joins four frames to a latent (Zheng et al., 2024).

Shape letters: B clips, T frames, L latent frames, C latent channels, Y X pixels, y x latent pixels.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cola_world.models.autoencoder import SDXL, VAEConfig, build_autoencoder, decode_frames, downsampling, encode_frames, read_weights
from cola_world.models.config import Config
from cola_world.models.temporal_vae import TemporalVAE, TemporalVAEConfig

MICRO_FRAMES = 17  # frames that it sees at once
# Factor of the spatial latents, then mean and standard deviation of each channel of the temporal ones.
SPATIAL_SCALE = 0.18215
SHIFT, SCALE = (-0.10, 0.34, 0.27, 0.98), (3.85, 2.32, 2.33, 3.06)


class OpenSoraVAEConfig(Config):
    """Shapes of both halves. The defaults are the published ones."""

    spatial: VAEConfig = SDXL
    temporal: TemporalVAEConfig = TemporalVAEConfig()


PUBLISHED = OpenSoraVAEConfig()


class OpenSoraVAE(nn.Module):
    """SDXL's VAE frame by frame, then four frames to a latent. Names are those of the public `OpenSora-VAE-v1.2`.

    A clip of 1 + 4n <= 17 frames has 1 + n latents: frame 0, then four frames each. Longer clips are cut into
    independent pieces of 17. Within a piece the published norms share their statistics, so a latent depends on later
    frames only through a common scale.
    """

    def __init__(self, config: OpenSoraVAEConfig):
        super().__init__()
        self.config = config
        self.spatial_vae = nn.ModuleDict({"module": build_autoencoder(config.spatial)})
        self.temporal_vae = TemporalVAE(config.temporal)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, -1, 1, 1, 1))
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, -1, 1, 1, 1))
        self.requires_grad_(False)

    @classmethod
    def load(cls, folder: Path) -> OpenSoraVAE:
        """Read what `save` wrote."""
        config = OpenSoraVAEConfig.model_validate_json((folder / "opensora.json").read_text())
        return read_weights(cls(config), folder / "model.safetensors")

    @classmethod
    def read_public(cls, path: Path) -> OpenSoraVAE:
        """Read the public safetensors file, or the folder that holds it as `model.safetensors`."""
        return read_weights(cls(PUBLISHED), path / "model.safetensors" if path.is_dir() else path)

    def save(self, folder: Path) -> None:
        """Write `model.safetensors` in the layout of the public file, and the shapes as `opensora.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in self.state_dict().items()}, folder / "model.safetensors")
        (folder / "opensora.json").write_text(self.config.model_dump_json(indent=1) + "\n")

    @property
    def frames_per_latent(self) -> int:
        return self.temporal_vae.factor

    @torch.no_grad()
    def encode(self, video_BTCYX: Tensor) -> Tensor:
        """See `VAE.encode`."""
        spatial_BCTyx = SPATIAL_SCALE * encode_frames(self.spatial_vae["module"], video_BTCYX).transpose(1, 2)
        pieces = [self.temporal_vae.encode(piece) for piece in spatial_BCTyx.split(MICRO_FRAMES, dim=2)]
        return ((torch.cat(pieces, dim=2) - self.shift) / self.scale).transpose(1, 2)

    @torch.no_grad()
    def decode(self, latents_BLCyx: Tensor, frames: int) -> Tensor:
        """See `VAE.decode`."""
        lengths = [len(piece) for piece in torch.arange(frames).split(MICRO_FRAMES)]
        latents = (latents_BLCyx.transpose(1, 2) * self.scale + self.shift).split(self.latent_frames(MICRO_FRAMES), dim=2)
        spatial = [self.temporal_vae.decode(z, length) for z, length in zip(latents, lengths, strict=True)]
        return decode_frames(self.spatial_vae["module"], torch.cat(spatial, dim=2).transpose(1, 2) / SPATIAL_SCALE)

    def latent_frames(self, frames: int) -> int:
        pieces, rest = divmod(frames, MICRO_FRAMES)
        return pieces * -(-MICRO_FRAMES // self.frames_per_latent) - (-rest // self.frames_per_latent)

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        factor = downsampling(self.spatial_vae["module"])
        return self.latent_frames(frames), self.config.temporal.channels, height // factor, width // factor
