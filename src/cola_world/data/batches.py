"""Clips and their cached VAE latents as training batches, each a pure function of (seed, step).

A random crop is one of a fixed set of views, so that its latents can be cached too. View 0 is the centre; the others
are offsets drawn once. Without crop every clip is seen through view 0.
Shape letters: B clips, T frames, Y X pixels, C channels, V views.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cola_world.data.clips import ClipCache, ClipSampler
from cola_world.models.pixels import channels_first


class Shapes(NamedTuple):
    """Shape of one clip and of its latents: (T, 3, Y, X) and (L, C, y, x)."""

    video: tuple[int, ...]
    latents: tuple[int, ...]


class Batch(NamedTuple):
    """RGB [B, T, 3, Y, X], uint8 or in [0, 1], VAE latents of the same clips [B, L, C, y, x], and the frames a second
    of each [B], if they are known.

    L = T unless the VAE joins frames.
    """

    video: Tensor
    latents: Tensor
    fps: Tensor | None = None

    def each(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        return Batch(*(None if values is None else function(values) for values in self))

    def rates(self, usual: float) -> Tensor:
        """Return the frames a second of each clip [B], the usual ones if they are not known."""
        return torch.full((len(self.video),), usual) if self.fps is None else self.fps


class Views:
    """Crop offsets (row, column) of each view within a cached frame, and the side of the crop in pixels."""

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
        # Copying whole rows clip by clip lets other threads run. One index over all pixels takes 35 times as long.
        for clip, indices_T, (row, column) in zip(crops, indices_BT, self.offsets[view_B], strict=True):
            clip[:] = frames[indices_T, row : row + self.crop, column : column + self.crop]
        return crops


class CachedBatches:
    """Reads pixels and latents from the memory-mapped caches. `weights` is the share of each corpus in a batch."""

    def __init__(self, clips: Path, latents: Path, num_frames: int, weights: Mapping[str, float], seed: int = 0):
        self.cache, self.num_frames, self.weights, self.seed = ClipCache.open(clips), num_frames, weights, seed
        card = json.loads((latents / "card.json").read_text())
        # By frame [V, F, C, y, x], or by the first frame of a clip [V, F, L, C, y, x] if the VAE joins frames.
        self.latents = np.load(latents / "latents.npy", mmap_mode="r")
        if card.get("num_frames", num_frames) != num_frames:
            raise ValueError(f"num_frames: {num_frames} differs from the cached latents' clips of {card['num_frames']}")
        self.by_clip = card.get("frames_per_latent", 1) > 1
        self.views = Views(self.cache.frames.shape[1], card["crop"], card["views"])
        self.uncropped = sorted(name for name in self.cache.evaluation_only if weights.get(name))
        self.sampler = self.make_sampler("train")

    def make_sampler(self, split: str) -> ClipSampler:
        return ClipSampler(self.cache, num_frames=self.num_frames, weights=self.weights, split=split, seed=self.seed)

    def shapes(self) -> Shapes:
        """Return the shapes of one clip and of its latents."""
        latents = self.latents.shape[2:] if self.by_clip else (self.num_frames, *self.latents.shape[2:])
        return Shapes((self.num_frames, 3, self.views.crop, self.views.crop), latents)

    def gather(self, indices_BT: np.ndarray, view_B: np.ndarray) -> Batch:
        video = channels_first(self.views.cut(self.cache.frames, indices_BT, view_B))
        where = (view_B, indices_BT[:, 0]) if self.by_clip else (view_B[:, None], indices_BT)
        return Batch(video, torch.from_numpy(self.latents[where]).float(), torch.from_numpy(self.cache.fps_of(indices_BT)))

    def at(self, step: int, size: int, crop: bool, clips: slice = slice(None)) -> Batch:
        """Read `clips` of the training batch of `step`, and no others. Raises ValueError if they cannot be cropped."""
        if crop and self.uncropped:
            raise ValueError(f"weights: {', '.join(self.uncropped)} are for evaluation only and have no latents of random crops")
        views = np.zeros(size, dtype=np.int64)
        if crop:
            views = np.random.default_rng((self.seed, step)).integers(len(self.views.offsets), size=size)
        return self.gather(self.sampler.batch(step, size)[clips], views[clips])

    def heldout(self, clips: int) -> Batch:
        """Return the first `clips` of a fixed held-out set, uncropped; the same for every seed."""
        indices = self.make_sampler("val").fixed(clips)
        return self.gather(indices, np.zeros(len(indices), dtype=np.int64))

    def partners(self, clips: int) -> Tensor:
        """Return for each clip of `heldout` the number of another, whose actions it is tried with: int64 [N]."""
        return torch.from_numpy(self.cache.partners(self.make_sampler("val").fixed(clips)))
