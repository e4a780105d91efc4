"""Training the small stand-in VAE on single frames, and caching latents. The public SDXL VAE needs no training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field

from cola_world.data.clips import ClipCache
from cola_world.models.vae import FrameVAE, VAEConfig, build_autoencoder
from cola_world.training.batches import Views, to_video
from cola_world.training.loop import step_generator

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


class VAETraining(BaseModel):
    """Steps, batch and learning rate of the stand-in VAE."""

    # not in paper: because no public VAE fits frames of a few dozen pixels, a small one is trained by squared error.
    model_config = ConfigDict(extra="forbid", frozen=True)
    model: VAEConfig
    crop: int
    views: int = Field(ge=1)
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    kl_weight: float = Field(1e-4, ge=0)
    seed: int = 0


def train_vae(clips: Path, config: VAETraining, progress: Callable[[int, float], None]) -> AutoencoderKL:
    """Fit an AutoencoderKL to random crops of the training frames; `progress(step, mse)` is called now and then."""
    cache, frames = ClipCache.open(clips), training_frames(clips)
    torch.manual_seed(config.seed)
    model = build_autoencoder(config.model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.steps)
    views = Views(cache.frames.shape[1], config.crop, config.views)
    for step in range(config.steps):
        rng = np.random.default_rng((config.seed, step))
        chosen, view = rng.choice(frames, config.batch_size), rng.integers(config.views, size=config.batch_size)
        pixels = 2 * to_video(views.cut(cache.frames, chosen[:, None], view))[:, 0] - 1
        posterior = model.encode(pixels).latent_dist
        mse = F.mse_loss(model.decode(posterior.sample(step_generator(config.seed, step))).sample, pixels)
        optimizer.zero_grad(set_to_none=True)
        (mse + config.kl_weight * posterior.kl().mean() / pixels[0].numel()).backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step + 1 == config.steps:
            progress(step + 1, mse.item())
    return model.eval()


def training_frames(clips: Path) -> np.ndarray:
    episodes = ClipCache.open(clips).episodes
    train = episodes[episodes.split == "train"]
    return np.concatenate([np.arange(o, o + n) for o, n in zip(train.offset, train.frames, strict=True)])


@torch.no_grad()
def latent_statistics(model: AutoencoderKL, clips: Path, config: VAETraining, count: int = 2048) -> dict:
    """Mean and standard deviation of each latent channel over training frames."""
    cache, frames = ClipCache.open(clips), training_frames(clips)
    chosen = frames[:: max(1, len(frames) // count)]
    views = Views(cache.frames.shape[1], config.crop, config.views)
    parts = []
    for part in np.array_split(chosen, max(1, len(chosen) // 128)):
        pixels = to_video(views.cut(cache.frames, part[:, None], np.zeros(len(part), dtype=np.int64)))[:, 0]
        parts.append(model.encode(2 * pixels - 1).latent_dist.mean)
    latents = torch.cat(parts)
    return {"mean": latents.mean((0, 2, 3)).tolist(), "std": latents.std((0, 2, 3)).tolist()}


def cache_latents(clips: Path, vae: Path, out: Path, crop: int, count: int, progress: Callable[[int, int], None]) -> None:
    """Encode every frame through every view into `out/latents.npy` [V, F, C, y, x], float16."""
    cache, model = ClipCache.open(clips), FrameVAE.load(vae).eval()
    views = Views(cache.frames.shape[1], crop, count)
    out.mkdir(parents=True, exist_ok=True)
    first = encode(model, cache, views, np.arange(1), 0)
    shape = (count, len(cache.frames), *first.shape[1:])
    latents = np.lib.format.open_memmap(out / "latents.npy", mode="w+", dtype=np.float16, shape=shape)
    for view in range(count):
        for start in range(0, len(cache.frames), 256):
            indices = np.arange(start, min(start + 256, len(cache.frames)))
            latents[view, indices] = encode(model, cache, views, indices, view)
            progress(view * len(cache.frames) + indices[-1] + 1, count * len(cache.frames))
    latents.flush()
    (out / "card.json").write_text(json.dumps({"crop": crop, "views": count}, indent=1) + "\n")


def encode(model: FrameVAE, cache: ClipCache, views: Views, indices: np.ndarray, view: int) -> np.ndarray:
    crops = views.cut(cache.frames, indices[:, None], np.full(len(indices), view))
    return model.encode(to_video(crops)[:, 0]).numpy().astype(np.float16)
