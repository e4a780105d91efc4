"""Train the stand-in encoder to tell the corpus of a clip and how it is played.

Shape letters: B clips, T frames of a clip.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cola_world.data.batches import Views
from cola_world.data.clips import ClipCache, ClipSampler
from cola_world.metrics.encoder import EncoderConfig, VideoEncoder
from cola_world.models.config import Config
from cola_world.models.pixels import to_video
from cola_world.running.progress import Progress

PLAYBACK = ("forward", "backward", "still", "shuffled")


class EncoderTraining(Config):
    """Shape and training of the encoder."""

    # not in paper: because I3D learnt to tell kinds of motion apart, its stand-in learns, without labels, which
    # corpus a clip is from, and whether it is played forward, backward, as a still or shuffled.
    model: EncoderConfig = EncoderConfig()
    steps: int = Field(600, ge=1)
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    seed: int = 0


class EncoderPlan(Config):
    """What the encoder is trained on: clips of `num_frames` frames in random crops, with a weight for each corpus."""

    training: EncoderTraining
    crop: int = Field(ge=1)
    views: int = Field(ge=1)
    num_frames: int = Field(ge=2)
    weights: dict[str, float]


def train_encoder(clips: Path, plan: EncoderPlan, progress: Progress = lambda step, steps: None) -> VideoEncoder:
    """Fit an encoder to the clip cache. One machine gives the same encoder again. Calls `progress(step, steps)` now
    and then.
    """
    tasks, how = Tasks(clips, plan), plan.training
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(how.seed)
        encoder = VideoEncoder(how.model)
        heads = nn.ModuleList(nn.Linear(how.model.features, classes) for classes in tasks.classes)
    parameters = [*encoder.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=how.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, how.learning_rate, total_steps=how.steps)
    for step in range(how.steps):
        video, labels = tasks.at(step)
        features = encoder(video)
        loss = sum(F.cross_entropy(head(features), label) for head, label in zip(heads, labels, strict=True))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step + 1 == how.steps:
            progress(step + 1, how.steps)
    return encoder.eval()


class Tasks:
    """Training batches with a label for each task, a pure function of the step."""

    def __init__(self, clips: Path, plan: EncoderPlan):
        self.cache, self.plan = ClipCache.open(clips), plan
        self.sampler = ClipSampler(self.cache, num_frames=plan.num_frames, weights=plan.weights, split="train", seed=plan.training.seed)
        self.views = Views(self.cache.frames.shape[1], plan.crop, plan.views)
        self.corpora = self.sampler.corpora
        # Two frames have no order besides forward and backward.
        self.classes = (len(self.corpora), len(PLAYBACK) if plan.num_frames > 2 else len(PLAYBACK) - 1)

    def at(self, step: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Video [B, T, 3, Y, X] and the classes of corpus and playback [B]."""
        rng, size = np.random.default_rng((self.plan.training.seed, step)), self.plan.training.batch_size
        indices_BT = self.sampler.batch(step, size)
        corpus = np.searchsorted(self.corpora, self.sampler.corpus_of(indices_BT))
        playback = rng.integers(self.classes[1], size=size)
        played_BT = np.stack([played(clip, PLAYBACK[kind], rng) for clip, kind in zip(indices_BT, playback, strict=True)])
        crops = self.views.cut(self.cache.frames, played_BT, rng.integers(self.plan.views, size=size))
        return to_video(crops), (torch.from_numpy(corpus), torch.from_numpy(playback))


def played(clip_T: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Reorder the frame indices of a clip. A still repeats one of its frames."""
    if kind == "forward":
        return clip_T
    if kind == "backward":
        return clip_T[::-1]
    if kind == "still":
        return np.full_like(clip_T, rng.choice(clip_T))
    order = rng.permutation(len(clip_T))
    if len(set(np.sign(np.diff(order)))) == 1:  # it went one way: forward or backward
        order[:2] = order[1::-1]
    return clip_T[order]
