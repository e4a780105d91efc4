"""The VAE of a scale: a small one trained on single frames, or a public one. Training goes on where it was stopped.

Shape letters: N frames, T frames of a clip (one), C channels, Y X pixels.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, RootModel
from torch import Tensor

from cola_world.data.clips import ClipCache
from cola_world.deadline import late, stopped
from cola_world.files import fingerprint, locked, scratch
from cola_world.models.idm import unit_pixels
from cola_world.models.vae import SDXL, VAEConfig, build_autoencoder, encode_frames, read_sdxl
from cola_world.training import checkpoint
from cola_world.training.batches import Views, channels_first
from cola_world.training.devices import own_device
from cola_world.training.loop import step_generator

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

SAVE_EVERY_S = 20.0
REPORT_EVERY = 50  # steps; a GPU is waited for


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
        model = read_sdxl(config.path, config.model).to(own_device())
    else:
        model = train_vae(clips, config, lambda step, mse: progress(step, config.steps))
    statistics = latent_statistics(model, clips, config)
    model.cpu().save_pretrained(out)
    (out / "latent_statistics.json").write_text(json.dumps(statistics, indent=1, sort_keys=True) + "\n")


def train_vae(clips: Path, config: VAETraining, progress: Callable[[int, float], None]) -> AutoencoderKL:
    """Fit an AutoencoderKL to random crops of the training frames; `progress(step, mse)` is called now and then."""
    folder = scratch() / "vae" / fingerprint(config.model_dump_json(), clips / "card.json", Path(__file__))
    with locked(folder):
        training = Training(clips, config, folder / "state.safetensors")
        training.resume()
        saved = time.monotonic()
        while training.step < config.steps:
            mse = training.train_step()
            if training.step % REPORT_EVERY == 0 or training.step == config.steps:
                progress(training.step, mse.item())
            stop = late()
            if stop or time.monotonic() - saved > SAVE_EVERY_S:
                training.save()
                saved = time.monotonic()
            if stop and training.step < config.steps:
                raise stopped("vae", f"step {training.step} of {config.steps}")
        training.state.unlink(missing_ok=True)
    return training.model.eval()


class Training:
    """The VAE, its optimiser and schedule between two steps; a step's frames and noise are a function of (seed, step)."""

    def __init__(self, clips: Path, config: VAETraining, state: Path):
        self.config, self.state, self.step = config, state, 0
        self.cache, self.frames = ClipCache.open(clips), training_frames(clips)
        self.views = Views(self.cache.frames.shape[1], config.crop, config.views)
        self.device = own_device()
        torch.manual_seed(config.seed)
        self.model = build_autoencoder(config.model).to(self.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=config.learning_rate, weight_decay=0.0)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, config.learning_rate, total_steps=config.steps)

    def train_step(self) -> Tensor:
        """Mean squared error, on the device."""
        rng = np.random.default_rng((self.config.seed, self.step))
        chosen, view = rng.choice(self.frames, self.config.batch_size), rng.integers(self.config.views, size=self.config.batch_size)
        crops = channels_first(self.views.cut(self.cache.frames, chosen[:, None], view))[:, 0]
        pixels = 2 * unit_pixels(crops.to(self.device)) - 1
        posterior = self.model.encode(pixels).latent_dist
        mse = F.mse_loss(self.model.decode(posterior.sample(step_generator(self.config.seed, self.step))).sample, pixels)
        self.optimizer.zero_grad(set_to_none=True)
        (mse + self.config.kl_weight * posterior.kl().mean() / pixels[0].numel()).backward()
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        return mse.detach()

    def save(self) -> None:
        state = self.optimizer.state_dict()
        moments = {f"optimizer/{i}/{name}": value for i, own in state["state"].items() for name, value in own.items()}
        about = {"step": self.step, "groups": state["param_groups"], "schedule": self.schedule.state_dict()}
        checkpoint.save(self.model.state_dict() | moments, self.state, about)

    def resume(self) -> None:
        if not self.state.exists():
            return
        tensors, about = checkpoint.load(self.state)
        moments: dict[int, dict[str, Tensor]] = {}
        for name in [name for name in tensors if name.startswith("optimizer/")]:
            _, index, moment = name.split("/")
            moments.setdefault(int(index), {})[moment] = tensors.pop(name)
        self.model.load_state_dict(tensors)
        self.optimizer.load_state_dict({"state": moments, "param_groups": about["groups"]})
        self.schedule.load_state_dict(about["schedule"])
        self.step = about["step"]


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
        crops = views.cut(cache.frames, part[:, None], np.zeros(len(part), dtype=np.int64))
        parts.append(encode_frames(model, unit_pixels(channels_first(crops)[:, 0].to(model.device))))
    latents = torch.cat(parts)
    return {"mean": latents.mean((0, 2, 3)).tolist(), "std": latents.std((0, 2, 3)).tolist()}
