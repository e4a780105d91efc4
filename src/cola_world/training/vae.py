"""The VAE of a scale, a small one trained on single frames or a public one, and the cache of latents.

Shape letters: V views, F frames of the clip cache, T frames of a clip, L latent frames, C channels, y x latent pixels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, RootModel

from cola_world.data.clips import ClipCache
from cola_world.models.vae import SDXL, VAE, VAEConfig, build_autoencoder, encode_frames, load_vae, read_sdxl
from cola_world.training.batches import Views, to_video
from cola_world.training.checkpoint import file_hash
from cola_world.training.loop import step_generator

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


class VAETraining(BaseModel):
    """Steps, batch and learning rate of the stand-in VAE."""

    # not in paper: because no public VAE fits frames of a few dozen pixels, a small one is trained by squared error.
    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["small"] = "small"
    model: VAEConfig
    crop: int
    views: int = Field(ge=1)
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    kl_weight: float = Field(1e-4, ge=0)
    seed: int = 0


class PublicVAE(BaseModel):
    """A published VAE from local files; `path`: its folder or its safetensors file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["sdxl", "opensora"]
    path: Path
    model: VAEConfig = Field(SDXL, description="shape of the file's AutoencoderKL")
    crop: int
    views: int = Field(ge=1)


class VAEPlan(RootModel):
    """What the stage `vae` is to make."""

    root: VAETraining | PublicVAE = Field(discriminator="kind")


def make_vae(clips: Path, plan: VAEPlan, out: Path, progress: Callable[[int, int], None]) -> None:
    """Write the VAE to `out`, as `load_vae` reads it; `progress(step, steps)` is called now and then."""
    config = plan.root
    if config.kind == "opensora":
        from cola_world.models.opensora_vae import OpenSoraVAE

        return OpenSoraVAE.read_public(config.path).save(out)
    if config.kind == "sdxl":
        model = read_sdxl(config.path, config.model)
    else:
        model = train_vae(clips, config, lambda step, mse: progress(step, config.steps))
    model.save_pretrained(out)
    statistics = latent_statistics(model, clips, config)
    (out / "latent_statistics.json").write_text(json.dumps(statistics, indent=1, sort_keys=True) + "\n")


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
    """Indices of the frames of training episodes, without those of corpora that are for evaluation only."""
    episodes = ClipCache.open(clips).episodes
    train = episodes[(episodes["split"] == "train") & ~episodes["evaluation_only"]]
    return np.concatenate([np.arange(o, o + n) for o, n in zip(train.offset, train.frames, strict=True)])


@torch.no_grad()
def latent_statistics(model: AutoencoderKL, clips: Path, config: VAETraining | PublicVAE, count: int = 2048) -> dict:
    """Mean and standard deviation of each latent channel over training frames."""
    cache, frames = ClipCache.open(clips), training_frames(clips)
    chosen = frames[:: max(1, len(frames) // count)]
    views = Views(cache.frames.shape[1], config.crop, config.views)
    parts = []
    for part in np.array_split(chosen, max(1, len(chosen) // 128)):
        pixels = to_video(views.cut(cache.frames, part[:, None], np.zeros(len(part), dtype=np.int64)))[:, 0]
        parts.append(encode_frames(model, pixels))
    latents = torch.cat(parts)
    return {"mean": latents.mean((0, 2, 3)).tolist(), "std": latents.std((0, 2, 3)).tolist()}


def cache_latents(
    clips: Path, vae: Path, out: Path, crop: int, count: int, progress: Callable[[int, int], None], num_frames: int = 1
) -> None:
    """Encode every frame through every view into `out/latents.npy` [V, F, C, y, x], float16.

    Corpora for evaluation only are never cropped at random: they go through view 0 alone and have zeros in the others.
    A VAE that joins frames encodes each clip of `num_frames` instead: [V, F, L, C, y, x] by the clip's first frame, zeros at
    those where no clip begins.
    """
    cache, model = ClipCache.open(clips), load_vae(vae).eval()
    views = Views(cache.frames.shape[1], crop, count)
    # With the VAE's checksum a run knows its latents from those of another VAE, for it is the card that it goes by.
    card, length = {"crop": crop, "views": count, "vae": checksum(vae)}, 1
    if model.frames_per_latent > 1:
        length = num_frames
        card |= {"num_frames": num_frames, "frames_per_latent": model.frames_per_latent}
    clips_NT = all_clips(cache, length)
    shape = model.latent_shape(length, crop, crop)
    shape = (count, len(cache.frames), *(shape if model.frames_per_latent > 1 else shape[1:]))
    out.mkdir(parents=True, exist_ok=True)
    latents = np.lib.format.open_memmap(out / "latents.npy", mode="w+", dtype=np.float16, shape=shape)
    batch = max(1, 256 // length)
    cropped_NT = clips_NT[~np.isin(cache.corpus_of(clips_NT), cache.evaluation_only)]
    jobs = [(view, part) for view in range(count) for part in chunks(cropped_NT if view else clips_NT, batch)]
    for done, (view, part_NT) in enumerate(jobs, 1):
        latents[view, part_NT[:, 0]] = encode(model, cache, views, part_NT, view)
        progress(done, len(jobs))
    latents.flush()
    (out / "card.json").write_text(json.dumps(card, indent=1) + "\n")


def checksum(vae: Path) -> str:
    """Of the VAE's weights and statistics; its config may name the folder that it was once read from."""
    files = sorted(path for path in vae.rglob("*") if path.is_file() and path.name != "config.json")
    return hashlib.sha256("".join(f"{path.name} {file_hash(path)}\n" for path in files).encode()).hexdigest()


def chunks(clips_NT: np.ndarray, size: int) -> list[np.ndarray]:
    return [clips_NT[start : start + size] for start in range(0, len(clips_NT), size)]


def all_clips(cache: ClipCache, length: int) -> np.ndarray:
    """Frame indices [N, length] of every clip that an episode holds, at its stride; of length 1 these are all frames."""
    if length == 1:
        return np.arange(len(cache.frames))[:, None]
    steps = np.arange(length)
    episodes = cache.episodes[["offset", "frames", "stride"]].to_numpy()
    starts = [(offset + np.arange(max(0, frames - (length - 1) * stride)), stride) for offset, frames, stride in episodes]
    return np.concatenate([begin[:, None] + stride * steps for begin, stride in starts])


def encode(model: VAE, cache: ClipCache, views: Views, clips_NT: np.ndarray, view: int) -> np.ndarray:
    """Latents of clips [N, L, C, y, x], or of single frames [N, C, y, x], float16."""
    crops = views.cut(cache.frames, clips_NT, np.full(len(clips_NT), view))
    latents = model.encode(to_video(crops)).numpy().astype(np.float16)
    return latents if model.frames_per_latent > 1 else latents[:, 0]
