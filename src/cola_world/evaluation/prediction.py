"""Predict videos from their first frame and the latent actions of the real video (paper 4.1, C.1).

Shape letters: N clips, T frames, L latent frames, C latent channels, Y X pixels, y x latent pixels.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from cola_world.data.batches import Batch
from cola_world.models.config import Config
from cola_world.models.pixels import unit_pixels
from cola_world.models.system import System, SystemConfig
from cola_world.models.vae import VAE
from cola_world.training import checkpoint
from cola_world.training.devices import load_parts

NOISE_SEED = 0


class Sampling(NamedTuple):
    """How videos are sampled: denoising steps, and guidance, of which 1 is the conditional model alone."""

    steps: int
    guidance: float

    def __str__(self) -> str:
        return f"{self.steps} denoising step{'s' if self.steps > 1 else ''}, guidance {self.guidance:g}"


class PredictionConfig(Config):
    """Clips per group of corpora, and how videos are sampled (paper B.2, C.1: 240 per device, 10 steps, guidance
    4.0).
    """

    clips: int = Field(ge=2)
    steps: int = Field(10, ge=1, description="of denoising")
    guidance: float = 4.0
    clips_at_a_time: int = Field(48, ge=1, description="on a device; it does not change the result")

    def ways(self) -> dict[str, Sampling]:
        """Map endings of metric names to ways of sampling: as told, without guidance, and the model's mean.

        not in paper: because guidance multiplies the error of a badly trained unconditional half, and a sample pays
        twice the variance that a copied frame pays, guidance 1 and the one-step mean prediction stand beside it.
        """
        return {"": Sampling(self.steps, self.guidance), "_guidance1": Sampling(self.steps, 1.0), "_mean": Sampling(1, 1.0)}


@torch.no_grad()
def predict_by_fdm(system: System, clips: Batch, given: int, clips_at_a_time: int) -> Tensor:
    """Predict each clip by the LAM's own FDM, from its last given frame on -> as `predict`.

    not in paper: because 3.1 says that the FDM predicts much worse than the world model and not how it was measured,
    it imagines each frame from its own last one, and its picture is brought from the LAM's resolution to the clip's.
    """
    device, videos = next(system.parameters()).device, []
    for own in clips.video.split(clips_at_a_time):
        video = own.to(device)
        actions_BAZ = system.lam.latent_actions(video).z_BAMZ.flatten(2)[:, given - 1 :]
        imagined = system.lam.fdm.imagine(system.lam.video(video)[:, given - 1], actions_BAZ)
        size = video.shape[-2:]
        pictures = F.interpolate(imagined.flatten(0, 1), size=size, mode="bilinear", antialias=True).unflatten(0, imagined.shape[:2])
        videos.append(torch.cat((unit_pixels(video[:, :given]), pictures.clamp(0, 1)), 1).cpu())
    return torch.cat(videos)


def load_system(config: SystemConfig, files: list[Path]) -> System:
    """Load the system from snapshots, of which a later one wins."""
    system = System(config, seed=0)
    for file in files:
        load_parts(system, checkpoint.load(file)[0])
    return system.eval()


def given_frames(system: System, vae: VAE) -> int:
    """Return the number of frames the world model is shown: those that its clean latent frames hold."""
    return 1 + (system.config.flow.context_frames - 1) * vae.frames_per_latent


@torch.no_grad()
def predict(
    system: System,
    vae: VAE,
    clips: Batch,
    sampling: Sampling,
    clips_at_a_time: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Predict each clip from its given frames and latent actions -> RGB in [0, 1] [N, T, 3, Y, X]; given frames are
    real.

    The noise of a clip depends on its place among the N alone: it is the same for every run and batch size.
    """
    device, known, given = next(system.parameters()).device, system.config.flow.context_frames, given_frames(system, vae)
    noise = torch.randn(clips.latents.shape, generator=torch.Generator().manual_seed(NOISE_SEED))
    videos = []
    parts = (values.split(clips_at_a_time) for values in (clips.video, clips.latents, noise, clips.rates(system.config.stdit3.fps)))
    for own in zip(*parts, strict=True):
        video, latents_NLCyx, noise_NLCyx, fps_N = (values.to(device) for values in own)
        actions = system.lam.latent_actions(video).z_BAMZ.flatten(2)
        imagined = system.world_model.denoise(latents_NLCyx[:, :known], actions, noise_NLCyx, *sampling, fps_B=fps_N)
        predicted = vae.decode(imagined, video.shape[1])
        videos.append(torch.cat((unit_pixels(video[:, :given]), predicted[:, given:]), 1).cpu())
        progress(sum(map(len, videos)))
    return torch.cat(videos)
