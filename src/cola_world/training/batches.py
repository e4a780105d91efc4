"""Clips and their cached VAE latents as training batches, each a pure function of (seed, step).

A random crop is drawn from a fixed set of views, so that its latents can be cached too: view 0 is the centre, the others
are offsets drawn once. Without crop every clip is seen through view 0.
Shape letters: B clips, T frames, Y X pixels, C channels, V views.
"""

import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from cola_world.data.clips import ClipCache, ClipSampler
from cola_world.models.idm import unit_pixels
from cola_world.training.phases import Batch, Draws, Shapes


class BatchConfig(BaseModel):
    """What a clip is, and the share of each corpus."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    num_frames: int = Field(8, ge=2)
    weights: dict[str, float]
    heldout_clips: int = Field(256, ge=1)


class BatchSource(Protocol):
    """Batches as a pure function of the step, so that a resumed run sees what an undisturbed one would."""

    def at(self, step: int, size: int, crop: bool, clips: slice = slice(None)) -> Batch: ...


# What some clips of a step are computed from: themselves, and their random numbers.
Material = tuple[Batch, Draws]


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
        crops = np.empty((*indices_BT.shape, self.crop, self.crop, 3), dtype=np.uint8)
        # Clip by clip whole rows are copied, and other threads may run; one index over all pixels takes 35 times as long.
        for clip, indices_T, (row, column) in zip(crops, indices_BT, self.offsets[view_B], strict=True):
            clip[:] = frames[indices_T, row : row + self.crop, column : column + self.crop]
        return crops


def channels_first(crops_BTYXC: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(crops_BTYXC).permute(0, 1, 4, 2, 3)


def to_video(crops_BTYXC: np.ndarray) -> torch.Tensor:
    """uint8 RGB -> [0, 1], channels before rows."""
    return unit_pixels(channels_first(crops_BTYXC))


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

    def shapes(self) -> Shapes:
        """Of one clip, and of its latents."""
        frames = self.config.num_frames
        latents = self.latents.shape[2:] if self.by_clip else (frames, *self.latents.shape[2:])
        return Shapes((frames, 3, self.views.crop, self.views.crop), latents)

    def gather(self, indices_BT: np.ndarray, view_B: np.ndarray) -> Batch:
        video = channels_first(self.views.cut(self.cache.frames, indices_BT, view_B))
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
    """A function of (step, part) whose next value is made in a thread, in pinned memory, while a GPU computes the one given."""

    def __init__(self, make: Callable[[int, slice], Material], parts: list[slice]):
        self.make, self.parts = make, parts
        self.thread = ThreadPoolExecutor(1)
        self.coming: dict[tuple[int, int], Future[Material]] = {}

    def __call__(self, step: int, part: slice) -> Material:
        """`part` is one of the parts, which are asked for in turn."""
        ready = self.coming.pop((step, part.start), None) or self.thread.submit(self.pinned, step, part)
        following = self.parts.index(part) + 1
        step, part = (step, self.parts[following]) if following < len(self.parts) else (step + 1, self.parts[0])
        self.coming = {(step, part.start): self.thread.submit(self.pinned, step, part)}
        return ready.result()

    def pinned(self, step: int, part: slice) -> Material:
        batch, draws = self.make(step, part)
        if not torch.cuda.is_available():
            return batch, draws
        return batch.each(torch.Tensor.pin_memory), draws.each(torch.Tensor.pin_memory)
