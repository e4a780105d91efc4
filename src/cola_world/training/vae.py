"""The VAE of a scale: a small one trained on single frames, or a public one. Interrupted training resumes.

Shape letters: N frames, T frames of a clip (one), C channels, Y X pixels.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from cola_world.data.batches import Views
from cola_world.data.clips import ClipCache
from cola_world.models.autoencoder import SDXL, VAEConfig, build_autoencoder, encode_frames, read_sdxl
from cola_world.models.config import Config
from cola_world.models.layers import step_generator
from cola_world.models.pixels import channels_first, unit_pixels
from cola_world.models.vae import PUBLIC_VAES, VAEKind
from cola_world.running.deadline import SAVE_EVERY_S, late, stopped
from cola_world.running.device import own_device
from cola_world.running.files import fingerprint, locked, scratch
from cola_world.running.progress import Progress
from cola_world.training import checkpoint
from cola_world.weights.public import PublicFile

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

REPORT_EVERY = 50  # steps; reporting waits for a GPU
# not in paper: because no public VAE fits frames of a few dozen pixels, a small one is trained by squared error.
KL_WEIGHT, SEED = 1e-4, 0


class VAESource(Config):
    """A small VAE trained on the clips, or a published one from `path`, which is its folder or its safetensors file."""

    kind: VAEKind = "small"
    model: VAEConfig | None = None
    steps: int | None = Field(None, ge=1)
    batch_size: int | None = Field(None, ge=1)
    learning_rate: float | None = Field(None, gt=0)
    path: str | None = None

    @model_validator(mode="after")
    def fields_go_with_kind(self) -> VAESource:
        needed = {"model", "steps", "batch_size", "learning_rate"} if self.kind == "small" else {"path"}
        for field, value in self:
            if field == "kind":
                continue
            if value is None and field in needed:
                raise ValueError(f"{field}: missing; the kind {self.kind!r} has no default for it")
            if value is not None and field not in needed:
                raise ValueError(f"{field}: {value!r} has no effect on the kind {self.kind!r}; leave it out")
        return self


class VAEPlan(Config):
    """The VAE that the stage `vae` makes, for crops of `crop` pixels through `views` views."""

    vae: VAESource
    crop: int
    views: int = Field(ge=1)
    public: dict[str, PublicFile] = Field({}, description="the row of data/weights.yaml that takes the place of training, if any")

    @property
    def kind(self) -> VAEKind:
        return next((PUBLIC_VAES[name] for name in self.public), self.vae.kind)


def make_vae(clips: Path, plan: VAEPlan, out: Path, progress: Progress, public: Path | None = None) -> None:
    """Write the VAE to `out`, in the layout that `load_vae` reads. `public` is the verified file of the plan's row,
    if any.

    Calls `progress(step, steps)` now and then.
    """
    source = plan.vae
    if plan.kind == "opensora":
        from cola_world.models.opensora_vae import OpenSoraVAE

        return OpenSoraVAE.read_public(public or Path(source.path)).save(out)
    if plan.kind == "sdxl":
        model = read_sdxl(public or Path(source.path), source.model or SDXL).to(own_device())
    else:
        model = train_vae(clips, plan, lambda step, mse: progress(step, source.steps))
    statistics = latent_statistics(model, clips, plan)
    model.cpu().save_pretrained(out)
    (out / "latent_statistics.json").write_text(json.dumps(statistics, indent=1, sort_keys=True) + "\n")


def train_vae(clips: Path, plan: VAEPlan, progress: Callable[[int, float], None]) -> AutoencoderKL:
    """Fit an AutoencoderKL to random crops of the training frames. Calls `progress(step, mse)` now and then."""
    folder = scratch() / "vae" / fingerprint(plan.model_dump(), clips / "card.json", Path(__file__))
    with locked(folder):
        training, steps = Training(clips, plan, folder / "state.safetensors"), plan.vae.steps
        training.resume()
        saved = time.monotonic()
        while training.step < steps:
            mse = training.train_step()
            if training.step % REPORT_EVERY == 0 or training.step == steps:
                progress(training.step, mse.item())
            stop = late()
            if stop or time.monotonic() - saved > SAVE_EVERY_S:
                training.save()
                saved = time.monotonic()
            if stop and training.step < steps:
                raise stopped("vae", f"step {training.step} of {steps}")
        training.state.unlink(missing_ok=True)
    return training.model.eval()


class Training:
    """The VAE, its optimiser and schedule between two steps. Frames and noise of a step are a function of (seed,
    step).
    """

    def __init__(self, clips: Path, plan: VAEPlan, state: Path):
        config = plan.vae
        self.batch_size, self.state, self.step = config.batch_size, state, 0
        self.cache, self.frames = ClipCache.open(clips), training_frames(clips)
        self.views = Views(self.cache.frames.shape[1], plan.crop, plan.views)
        self.device = own_device()
        torch.manual_seed(SEED)
        self.model = build_autoencoder(config.model).to(self.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=config.learning_rate, weight_decay=0.0)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, config.learning_rate, total_steps=config.steps)

    def train_step(self) -> Tensor:
        """Take one step -> its mean squared error, on the device."""
        rng = np.random.default_rng((SEED, self.step))
        chosen, view = rng.choice(self.frames, self.batch_size), rng.integers(len(self.views.offsets), size=self.batch_size)
        crops = channels_first(self.views.cut(self.cache.frames, chosen[:, None], view))[:, 0]
        pixels = 2 * unit_pixels(crops.to(self.device)) - 1
        posterior = self.model.encode(pixels).latent_dist
        mse = F.mse_loss(self.model.decode(posterior.sample(step_generator(SEED, self.step))).sample, pixels)
        self.optimizer.zero_grad(set_to_none=True)
        (mse + KL_WEIGHT * posterior.kl().mean() / pixels[0].numel()).backward()
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
    """Return the indices of frames of training episodes, without corpora that are for evaluation only."""
    episodes = ClipCache.open(clips).episodes
    train = episodes[(episodes["split"] == "train") & ~episodes["evaluation_only"]]
    return np.concatenate([np.arange(o, o + n) for o, n in zip(train.offset, train.frames, strict=True)])


@torch.no_grad()
def latent_statistics(model: AutoencoderKL, clips: Path, plan: VAEPlan, count: int = 2048) -> dict:
    """Return mean and standard deviation of each latent channel over training frames."""
    cache, frames = ClipCache.open(clips), training_frames(clips)
    chosen = frames[:: max(1, len(frames) // count)]
    views = Views(cache.frames.shape[1], plan.crop, plan.views)
    parts = []
    for part in np.array_split(chosen, max(1, len(chosen) // 128)):
        crops = views.cut(cache.frames, part[:, None], np.zeros(len(part), dtype=np.int64))
        parts.append(encode_frames(model, unit_pixels(channels_first(crops)[:, 0].to(model.device))))
    latents = torch.cat(parts)
    return {"mean": latents.mean((0, 2, 3)).tolist(), "std": latents.std((0, 2, 3)).tolist()}
