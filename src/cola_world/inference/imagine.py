"""Turn a frame and latent actions into an imagined video, window after window.

Shape letters: B clips, K context frames, A actions, Z values of an action, C latent channels, y x latent pixels.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cola_world.data.video import VideoWriter
from cola_world.inference.actions import Actions, picture
from cola_world.models.pixels import to_video
from cola_world.models.vae import VAE
from cola_world.running.files import renamed
from cola_world.running.progress import Progress
from cola_world.weights.hub import ActionWorldModel


@torch.no_grad()
def imagine(
    image: Path, actions: Actions, model: ActionWorldModel, vae: VAE, out: Path, progress: Progress, seed: int = 0
) -> int:
    """Write the frame `image` and what the actions make of it as an mp4 -> number of frames. Raises ValueError in one
    line.
    """
    frames, device = model.model_config.frames, next(model.parameters()).device
    with Image.open(image) as file:
        first = picture(np.asarray(file.convert("RGB")), frames, side_of(model))
    latents = vae.encode(to_video(first[None, None]).to(device))
    check(model, vae, latents, actions)
    windows, done = continuations(model, vae, latents, actions, torch.Generator().manual_seed(seed)), 1
    with renamed(out) as partial:
        writer = VideoWriter(partial, fps=actions.fps, width=first.shape[1], height=first.shape[0])
        try:
            writer.add(first[None])
            for rgb_NCYX in windows:
                writer.add(to_pixels(rgb_NCYX))
                done += len(rgb_NCYX)
                progress(done - 1, len(actions.z_AZ))
        finally:
            writer.close()
    return done


def continuations(
    model: ActionWorldModel, vae: VAE, context_BKCyx: Tensor, actions: Actions, generator: torch.Generator
) -> Iterator[Tensor]:
    """Yield what follows the context, RGB in [0, 1] [N, 3, Y, X], window after window.

    not in paper: because a latent that holds four frames cannot stand where a clip has that of its first frame alone,
    a VAE that joins frames decodes each window, and encodes its last frame anew for the next.
    """
    device, frames = context_BKCyx.device, model.model_config.frames.num_frames
    z_BAZ, fps_B = actions.z_AZ.to(device)[None], torch.tensor([float(actions.fps)], device=device)
    if vae.frames_per_latent == 1:
        for latents_BLCyx in model.rollout(context_BKCyx, z_BAZ, generator, frames, fps_B):
            yield vae.decode(latents_BLCyx, latents_BLCyx.shape[1])[0]
        return
    for own_BAZ in z_BAZ.split(frames - 1, dim=1):
        video_BTCYX = vae.decode(model.sample(context_BKCyx, own_BAZ, generator, fps_B), own_BAZ.shape[1] + 1)
        yield video_BTCYX[0, 1:]
        context_BKCyx = vae.encode(video_BTCYX[:, -1:])


def side_of(model: ActionWorldModel) -> int:
    """Return the side in pixels of pictures for a model whose card does not say how its clips were cut."""
    size = model.stdit3.config.pixel_size
    if size == "clip" and not model.model_config.frames.size:
        raise ValueError("frames.size: the model's config.json does not say it, and its pixel_size is that of the clip; add frames.size")
    return model.model_config.frames.size if size == "clip" else size


def to_pixels(rgb_NCYX: Tensor) -> np.ndarray:
    """RGB in [0, 1] -> uint8 [N, Y, X, 3]."""
    return (rgb_NCYX * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def check(model: ActionWorldModel, vae: VAE, latents_BKCyx: Tensor, actions: Actions) -> None:
    """Raise ValueError unless actions and VAE are of the kind that this world model was trained with."""
    joined, count = model.action_adaln.config.actions_per_latent_frame, len(actions.z_AZ)
    if vae.frames_per_latent != joined:
        raise ValueError(f"vae: expected one that joins {joined} frames to a latent, found {vae.frames_per_latent}; take the run's own")
    if count % joined:
        fitting = max(joined, count - count % joined)
        raise ValueError(f"actions: expected a multiple of {joined}, found {count}; encode a video of {fitting + 1} frames")
    wanted, found = model.action_adaln.embed[0].in_features, joined * actions.z_AZ.shape[1]
    if wanted != found:
        raise ValueError(f"actions: expected vectors of {wanted} values, found {found}; encode them with the LAM of this world model")
    expected, channels = model.stdit3.config.channels, latents_BKCyx.shape[2]
    if channels != expected:
        raise ValueError(f"vae: expected latents of {expected} channels, found {channels}; take the run's own")
