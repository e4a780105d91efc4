"""Turn a frame and latent actions into an imagined video, window after window.

Shape letters: B clips, K context frames, A actions, Z values of an action, C latent channels, y x latent pixels.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cola_world.data.video import VideoWriter
from cola_world.inference.actions import Actions, picture
from cola_world.models.pixels import to_video
from cola_world.models.vae import FrameVAE
from cola_world.running.files import renamed
from cola_world.running.progress import Progress
from cola_world.weights.hub import ActionWorldModel


@torch.no_grad()
def imagine(
    image: Path, actions: Actions, model: ActionWorldModel, vae: FrameVAE, out: Path, progress: Progress, seed: int = 0
) -> int:
    """Write the frame `image` and what the actions make of it as an mp4 -> number of frames. Raises ValueError in one
    line.
    """
    frames, device = model.model_config.frames, next(model.parameters()).device
    with Image.open(image) as file:
        first = picture(np.asarray(file.convert("RGB")), frames, model.stdit3.config.pixel_size)
    latents = vae.encode(to_video(first[None, None])[0].to(device))[:, None]
    check(model, latents, actions)
    generator, done = torch.Generator().manual_seed(seed), 1
    with renamed(out) as partial:
        writer = VideoWriter(partial, fps=actions.fps, width=first.shape[1], height=first.shape[0])
        try:
            writer.add(first[None])
            for part in model.rollout(latents, actions.z_AZ.to(device)[None], generator, frames.num_frames):
                writer.add(to_pixels(vae.decode(part[0])))
                done += part.shape[1]
                progress(done - 1, len(actions.z_AZ))
        finally:
            writer.close()
    return done


def to_pixels(rgb_NCYX: Tensor) -> np.ndarray:
    """RGB in [0, 1] -> uint8 [N, Y, X, 3]."""
    return (rgb_NCYX * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def check(model: ActionWorldModel, latents_BKCyx: Tensor, actions: Actions) -> None:
    """Raise ValueError unless actions and VAE are of the kind that this world model was trained with."""
    wanted, found = model.action_adaln.embed[0].in_features, actions.z_AZ.shape[1]
    if wanted != found:
        raise ValueError(f"actions: expected vectors of {wanted} values, found {found}; encode them with the LAM of this world model")
    config, (channels, height, width) = model.stdit3.config, latents_BKCyx.shape[2:]
    if channels != config.channels or height % config.patch_size or width % config.patch_size:
        found = f"{channels} channels of {height} x {width}"
        raise ValueError(f"vae: expected latents of {config.channels} channels, sides a multiple of {config.patch_size}, found {found}")
