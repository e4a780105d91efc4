"""The decoded clip cache, and the sampler of the mixture.

The frames of all episodes lie one after the other. A clip is T of their indices, within one episode and a stride
apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from cola_world.models.config import Config


class ClipsConfig(Config):
    """The clip cache: side of cached frames, side of the crop, number of views, frames of a clip, held-out clips."""

    size: int = Field(ge=8)
    crop: int = Field(ge=8)
    views: int = Field(ge=1)
    # not in paper: because the paper does not say how long its clips are, they have as many frames as the published LAM
    # of the same authors sees at once; a small scale has fewer, and the profile `paper` the ten that FVD takes at least.
    num_frames: int = Field(8, ge=2)
    heldout_clips: int = Field(256, ge=2)

    @model_validator(mode="after")
    def crop_fits(self) -> "ClipsConfig":
        if self.crop > self.size:
            raise ValueError(f"crop: {self.crop} is larger than the frame; at most {self.size} is possible")
        return self


@dataclass(frozen=True)
class ClipCache:
    """What the stage `clips` wrote. `frames` is a memory map: opening costs nothing, and workers share its pages."""

    frames: np.ndarray  # uint8 [F, H, W, 3], RGB
    actions: np.ndarray  # float32 [F, Amax]; zero-padded, NaN where a corpus hides its actions
    # corpus, group, episode, split, offset, frames, fps, action_dim, action_names (joined by commas), stride, evaluation_only
    episodes: pd.DataFrame

    @classmethod
    def open(cls, folder: str | Path) -> "ClipCache":
        """Open a cache. Raises ValueError if the folder is not a complete one."""
        folder = Path(folder)
        for name in ("frames.npy", "actions.npy", "episodes.parquet"):
            if not (folder / name).is_file():
                raise ValueError(f"{folder}: not a clip cache: {name} is missing; run `dvc repro clips` first")
        frames, actions = (np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in ("frames.npy", "actions.npy"))
        return cls(frames, actions, pd.read_parquet(folder / "episodes.parquet"))

    @property
    def evaluation_only(self) -> list[str]:
        """Names of the corpora that no model is trained on."""
        return sorted(set(self.episodes.loc[self.episodes["evaluation_only"], "corpus"]))

    def corpus_of(self, indices: np.ndarray) -> np.ndarray:
        """Return the corpus name of each frame index, or of each clip if `indices` has a last axis of frames."""
        return self.episodes["corpus"].to_numpy(dtype=str)[self.episode_of(indices)]

    def episode_of(self, indices: np.ndarray) -> np.ndarray:
        """Return the row in `episodes` of each frame index, or of each clip if `indices` has a last axis of frames."""
        first = indices[..., 0] if indices.ndim > 1 else indices
        return np.searchsorted(self.episodes["offset"].to_numpy(), first, side="right") - 1

    def fps_of(self, clips_NT: np.ndarray) -> np.ndarray:
        """Return the frames a second of each clip [N], whose frames lie the corpus's stride apart."""
        return self.rates[self.episode_of(clips_NT)]

    @cached_property
    def rates(self) -> np.ndarray:
        """Frames a second of the clips of each episode, float32."""
        return (self.episodes["fps"] / self.episodes["stride"]).to_numpy(np.float32)

    def partners(self, clips_NT: np.ndarray) -> np.ndarray:
        """Return for each clip the number of another, int64 [N]: of the same episode where there is one, else of the same
        corpus, else any.

        Partners swap places half a group apart, so that all clips together keep what they show.
        """
        partner_N = np.full(len(clips_NT), -1)
        for labels_N in (self.episode_of(clips_NT), self.corpus_of(clips_NT), np.zeros(len(clips_NT))):
            for label in np.unique(labels_N[partner_N < 0]):
                members = np.flatnonzero((labels_N == label) & (partner_N < 0))
                if len(members) > 1:
                    partner_N[members] = np.roll(members, -(len(members) // 2))
        return np.where(partner_N < 0, (np.arange(len(partner_N)) + 1) % len(partner_N), partner_N)


class ClipSampler:
    """Draws clips of a split: first the corpus by its weight, then one of its possible starts uniformly.

    A batch is a pure function of (seed, step), so a resumed run sees the clips that it would have seen.
    """

    def __init__(self, cache: ClipCache, *, num_frames: int, weights: Mapping[str, float], split: str, seed: int):
        rows = cache.episodes[(cache.episodes["split"] == split) & cache.episodes["corpus"].isin(weights)]
        starts = rows["frames"].to_numpy() - (num_frames - 1) * rows["stride"].to_numpy()
        rows, starts = rows[starts > 0], starts[starts > 0]
        self.cache, self.num_frames, self.seed = cache, num_frames, seed
        self.corpora = sorted(name for name, weight in weights.items() if weight > 0)
        self._check(cache, weights, split, rows)
        rows = rows.assign(starts=starts).sort_values(["corpus", "episode"], kind="stable")
        rows = rows[rows["corpus"].isin(self.corpora)]
        self._offset, self._stride = rows["offset"].to_numpy(np.int64), rows["stride"].to_numpy(np.int64)
        self._ends = np.cumsum(rows["starts"].to_numpy(np.int64))
        self._begins = self._ends - rows["starts"].to_numpy(np.int64)
        counts = rows.groupby("corpus", sort=True)["starts"].sum()
        self._count = counts.to_numpy(np.int64)
        self._base = np.cumsum(self._count) - self._count
        share = np.array([weights[name] for name in self.corpora], float)
        self.weights = dict(zip(self.corpora, (share / share.sum()).tolist(), strict=True))
        self._edges = np.cumsum(share / share.sum())[:-1]

    def _check(self, cache: ClipCache, weights: Mapping[str, float], split: str, rows: pd.DataFrame) -> None:
        if not self.corpora:
            raise ValueError(f"weights: {dict(weights)} has no corpus with a positive weight; at least one is needed")
        known, usable = set(cache.episodes["corpus"]), set(rows["corpus"])
        for name in self.corpora:
            if name not in known:
                raise ValueError(f"weights: corpus {name!r} is not in the clip cache; it holds {', '.join(sorted(known))}")
            if name not in usable:
                raise ValueError(f"weights: corpus {name!r} has no {split} episode of {self.num_frames} frames at its stride")

    def batch(self, step: int, size: int) -> np.ndarray:
        """Return frame indices into the cache, int64 [size, num_frames]."""
        uniform = np.random.default_rng([self.seed, step]).random((2, size))
        corpus = np.searchsorted(self._edges, uniform[0], side="right")
        return self._clips(self._base[corpus] + (uniform[1] * self._count[corpus]).astype(np.int64))

    def fixed(self, count: int) -> np.ndarray:
        """Return int64 [count, num_frames], spread evenly over episodes in the mixture's proportions, whatever the
        seed.
        """
        keys = [
            base + ((np.arange(share) + 0.5) / max(share, 1) * total).astype(np.int64)
            for share, base, total in zip(_whole_shares(list(self.weights.values()), count), self._base, self._count, strict=True)
        ]
        return self._clips(np.concatenate(keys))

    def corpus_of(self, indices: np.ndarray) -> np.ndarray:
        """Return the corpus name of each clip of `batch` or `fixed`."""
        return self.cache.corpus_of(indices)

    def _clips(self, key: np.ndarray) -> np.ndarray:
        row = np.searchsorted(self._ends, key, side="right")
        start = self._offset[row] + key - self._begins[row]
        return start[:, None] + self._stride[row][:, None] * np.arange(self.num_frames)


def _whole_shares(weights: list[float], count: int) -> np.ndarray:
    """Split `count` by weight into whole numbers. The largest remainders get what is left over."""
    exact = np.asarray(weights) * count
    shares = np.floor(exact).astype(np.int64)
    order = np.argsort(shares - exact, kind="stable")
    shares[order[: count - shares.sum()]] += 1
    return shares


@dataclass(frozen=True)
class Mixture:
    """Weight of each corpus, adding up to 1, and the weight of each group that has no corpus."""

    weights: dict[str, float]
    missing: dict[str, float]

    def __str__(self) -> str:
        shares = ", ".join(f"{name} {weight:.0%}" for name, weight in self.weights.items())
        gone = ", ".join(f"{name} ({weight:g})" for name, weight in self.missing.items())
        return f"mixture: {shares}" + (f"; no corpus here for {gone}: its weight is shared by the others" if gone else "")


def mix(groups: Mapping[str, str], mixture: Mapping[str, float]) -> Mixture:
    """Weigh corpora by `groups` (corpus -> group) and `mixture` (group -> weight). A group's corpora share equally
    (paper A).
    """
    members = {group: sorted(name for name, its in groups.items() if its == group) for group in mixture}
    present = {group: weight for group, weight in mixture.items() if members[group] and weight > 0}
    if not present:
        raise ValueError(f"mixture: none of its groups {', '.join(mixture)} has a corpus; there are {dict(groups)}")
    total = sum(present.values())
    weights = {name: weight / total / len(members[group]) for group, weight in present.items() for name in members[group]}
    missing = {group: weight for group, weight in mixture.items() if weight > 0 and not members[group]}
    return Mixture(dict(sorted(weights.items())), missing)
