"""Clips and their cached VAE latents as training batches, each a pure function of (seed, step).

A random crop is drawn from a fixed set of views, so that its latents can be cached too: view 0 is the centre, the others
are offsets drawn once. Without crop every clip is seen through view 0.
Shape letters: B clips, T frames, Y X pixels, C channels, V views.
"""

import json
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from cola_world.data.clips import ClipCache, ClipSampler
from cola_world.training.phases import Batch


class BatchConfig(BaseModel):
    """What a clip is, and the share of each corpus."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    num_frames: int = Field(8, ge=2)
    weights: dict[str, float]
    heldout_clips: int = Field(256, ge=1)


class BatchSource(Protocol):
    """Batches as a pure function of the step, so that a resumed run sees what an undisturbed one would."""

    def at(self, step: int, size: int, crop: bool, clips: slice = slice(None)) -> Batch: ...


class Views:
    """Crop offsets (row, column) of each view within a cached frame, and the crop's side in pixels."""

    def __init__(self, frame_size: int, crop: int, count: int, seed: int = 0):
        if crop > frame_size:
            raise ValueError(f"crop: {crop} is larger than the cached frames; at most {frame_size} is possible")
        margin = frame_size - crop
        offsets = np.random.default_rng(seed).integers(0, margin + 1, size=(count, 2))
        offsets[0] = margin // 2
        self.offsets, self.crop = offsets, crop

    def cut(self, frames: np.ndarray, indices_BT: np.ndarray, view_B: np.ndarray) -> np.ndarray:
        """frames [F, Y, X, 3] uint8 -> crops [B, T, crop, crop, 3]."""
        span = np.arange(self.crop)
        rows_BY, columns_BX = (self.offsets[view_B, axis][:, None] + span for axis in (0, 1))
        return frames[indices_BT[:, :, None, None], rows_BY[:, None, :, None], columns_BX[:, None, None, :]]


def to_video(crops_BTYXC: np.ndarray) -> torch.Tensor:
    """uint8 RGB -> [0, 1], channels before rows."""
    return torch.from_numpy(crops_BTYXC).permute(0, 1, 4, 2, 3).float() / 255


class CachedBatches:
    """Reads pixels and latents from the memory-mapped caches."""

    def __init__(self, clips: Path, latents: Path, config: BatchConfig, seed: int):
        self.cache = ClipCache.open(clips)
        card = json.loads((latents / "card.json").read_text())
        # By frame [V, F, C, y, x], or, from a VAE that joins frames, by first frame of a clip [V, F, L, C, y, x].
        self.latents = np.load(latents / "latents.npy", mmap_mode="r")
        if card.get("num_frames", config.num_frames) != config.num_frames:
            raise ValueError(f"num_frames: {config.num_frames} differs from the cached latents' clips of {card['num_frames']}")
        self.by_clip = card.get("frames_per_latent", 1) > 1
        self.views = Views(self.cache.frames.shape[1], card["crop"], card["views"])
        self.config, self.seed = config, seed
        self.uncropped = sorted(name for name in self.cache.evaluation_only if config.weights.get(name))
        self.sampler = self.make_sampler("train")

    def make_sampler(self, split: str) -> ClipSampler:
        config = self.config
        return ClipSampler(
            self.cache, num_frames=config.num_frames, weights=config.weights, split=split, seed=self.seed
        )

    def gather(self, indices_BT: np.ndarray, view_B: np.ndarray) -> Batch:
        video = to_video(self.views.cut(self.cache.frames, indices_BT, view_B))
        where = (view_B, indices_BT[:, 0]) if self.by_clip else (view_B[:, None], indices_BT)
        return Batch(video, torch.from_numpy(self.latents[where]).float())

    def at(self, step: int, size: int, crop: bool, clips: slice = slice(None)) -> Batch:
        """Those `clips` of the training batch of `step`; the others are not read. ValueError where they cannot be cropped."""
        if crop and self.uncropped:
            raise ValueError(f"weights: {', '.join(self.uncropped)} are for evaluation only and have no latents of random crops")
        views = np.zeros(size, dtype=np.int64)
        if crop:
            views = np.random.default_rng((self.seed, step)).integers(len(self.views.offsets), size=size)
        return self.gather(self.sampler.batch(step, size)[clips], views[clips])

    def heldout(self) -> Batch:
        """The fixed held-out clips, uncropped; the same for every seed."""
        indices = self.make_sampler("val").fixed(self.config.heldout_clips)
        return self.gather(indices, np.zeros(len(indices), dtype=np.int64))


class Prefetched:
    """A source that reads what comes next in a thread, into pinned memory, while a GPU computes what it has given."""

    def __init__(self, source: BatchSource, parts: list[slice]):
        self.source, self.parts = source, parts
        self.reader = ThreadPoolExecutor(1)
        self.coming: dict[tuple[int, int], Future[Batch]] = {}

    def at(self, step: int, size: int, crop: bool, clips: slice) -> Batch:
        """As the source's own; `clips` is one of the parts, which are asked for in turn."""
        ready = self.coming.pop((step, clips.start), None)
        index = self.parts.index(clips) + 1
        after = (step, self.parts[index]) if index < len(self.parts) else (step + 1, self.parts[0])
        key = (after[0], after[1].start)
        if key not in self.coming:
            self.coming = {key: self.reader.submit(self.read, after[0], size, crop, after[1])}
        return ready.result() if ready else self.read(step, size, crop, clips)

    def read(self, step: int, size: int, crop: bool, clips: slice) -> Batch:
        batch = self.source.at(step, size, crop, clips)
        return Batch(*(values.pin_memory() for values in batch)) if torch.cuda.is_available() else batch
