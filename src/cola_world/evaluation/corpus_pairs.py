"""The frame pairs of a corpus as a probe takes them: what is read of their video, beside what is to be read.

Shape letters: N clips, T frames, A pairs of a clip (= T - 1), Z values read from, P pairs, C colour channels, Y X
pixels.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cola_world.data.batches import Views
from cola_world.data.clips import ClipCache, ClipsConfig
from cola_world.data.pairs import Pairs, frame_pairs
from cola_world.evaluation.dimensions import Dimension, dimensions
from cola_world.evaluation.pixels import frame_change
from cola_world.evaluation.probing import Known, ProbeConfig
from cola_world.models.pixels import to_video

CHUNK = 64  # clips read at once


class Split(NamedTuple):
    """The pairs of the training or of the held-out episodes, seen through the middle of each cached frame (view 0)."""

    cache: ClipCache
    views: Views
    pairs: Pairs

    @property
    def kinds(self) -> tuple[Dimension, ...]:
        return dimensions(self.pairs.names, self.pairs.actions_NAD.shape[-1])

    def videos(self) -> Iterator[Tensor]:
        """Yield the clips, RGB in [0, 1] [N, T, 3, Y, X], some at a time."""
        for part_NT in np.array_split(self.pairs.clips_NT, -(-len(self.pairs.clips_NT) // CHUNK)):
            yield to_video(self.views.cut(self.cache.frames, part_NT, np.zeros(len(part_NT), np.int64)))

    @torch.no_grad()
    def read(self, what: Callable[[Tensor], Tensor]) -> Known:
        """Put `what` a clip shows, [N, T, 3, Y, X] -> [N, A, Z], beside the real actions of the same pairs."""
        read = [(what(video).flatten(0, 1), frame_change(video).flatten()) for video in self.videos()]
        values_PZ, change_P = (torch.cat(parts) for parts in zip(*read, strict=True))
        actions_PD = torch.from_numpy(self.pairs.actions_NAD).flatten(0, 1)
        return Known(values_PZ, *(values.to(values_PZ.device) for values in (actions_PD, change_P)))


def splits(cache: ClipCache, corpus: str, clips: ClipsConfig, config: ProbeConfig) -> tuple[Split, Split]:
    """Return the pairs of train and of val episodes (paper C.1), no more than are drawn. Raises ValueError without."""
    views = Views(cache.frames.shape[1], clips.crop, clips.views)
    counts = {"train": config.steps * config.batch_size, "val": config.test_pairs}
    train, test = (Split(cache, views, frame_pairs(cache, corpus, split, clips.num_frames, n)) for split, n in counts.items())
    return train, test
