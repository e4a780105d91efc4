"""Videos that a world model predicts from their first frame and the latent actions of the real video (paper 4.1, C.1).

Shape letters: N clips, T frames, L latent frames, C latent channels, Y X pixels, y x latent pixels.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from cola_world.models.idm import unit_pixels
from cola_world.models.system import System, SystemConfig
from cola_world.models.vae import VAE
from cola_world.training import checkpoint
from cola_world.training.phases import Batch

Progress = Callable[[int], None]
NOISE_SEED = 0


class Sampling(BaseModel):
    """How videos are sampled (paper B.2: 10 steps, guidance 4.0)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    steps: int = Field(10, ge=1)
    guidance: float = 4.0
    clips_at_a_time: int = Field(48, ge=1, description="on a device; it does not change the result")

    def __str__(self) -> str:
        return f"{self.steps} denoising steps, guidance {self.guidance:g}"


def load_system(config: SystemConfig, files: list[Path], sampling: Sampling) -> System:
    """The system whose parts the snapshots `files` hold, a later one winning; it samples as `sampling` says."""
    flow = config.flow.model_copy(update={"sampling_steps": sampling.steps, "guidance": sampling.guidance})
    system = System(config.model_copy(update={"flow": flow}), seed=0)
    for file in files:
        checkpoint.load_parts(system, checkpoint.load(file)[0])
    return system.eval()


def given_frames(system: System, vae: VAE) -> int:
    """Frames of a clip that the world model is shown: those that its clean latent frames hold."""
    return 1 + (system.config.flow.context_frames - 1) * vae.frames_per_latent


@torch.no_grad()
def predict(system: System, vae: VAE, clips: Batch, clips_at_a_time: int, progress: Progress = lambda done: None) -> Tensor:
    """What becomes of the first frame under the clips' latent actions: RGB in [0, 1] [N, T, 3, Y, X]; the given frames are real.

    A clip's noise depends on its place among the N alone: it is the same for every run, and however many are sampled at once.
    """
    device, known, given = next(system.parameters()).device, system.config.flow.context_frames, given_frames(system, vae)
    noise = torch.randn(clips.latents.shape, generator=torch.Generator().manual_seed(NOISE_SEED))
    videos = []
    for own in zip(*(values.split(clips_at_a_time) for values in (*clips, noise)), strict=True):
        video, latents_NLCyx, noise_NLCyx = (values.to(device) for values in own)
        actions = system.latent_actions(video).z_BAMZ.flatten(2)
        imagined = system.world_model.denoise(latents_NLCyx[:, :known], actions, noise_NLCyx)
        predicted = vae.decode(imagined, video.shape[1])
        videos.append(torch.cat((unit_pixels(video[:, :given]), predicted[:, given:]), 1).cpu())
        progress(sum(map(len, videos)))
    return torch.cat(videos)
