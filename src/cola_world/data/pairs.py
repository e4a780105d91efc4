"""Frame pairs of a corpus with the real actions between their frames, to fit models on frozen latent actions.

Shape letters: N clips, T frames, A pairs of a clip (= T - 1), D dimensions of a real action.
"""

from dataclasses import dataclass

import numpy as np

from cola_world.data.clips import ClipCache


@dataclass(frozen=True)
class Pairs:
    """Clips of one split with the real action of each of their frame pairs."""

    clips_NT: np.ndarray  # int64, frame indices into the cache
    actions_NAD: np.ndarray  # float32, as recorded
    names: tuple[str, ...]  # of the action's dimensions; empty where the data set does not say


def frame_pairs(cache: ClipCache, corpus: str, split: str, num_frames: int, count: int) -> Pairs:
    """Return about `count` pairs at most, spread evenly over the episodes of the split, in clips of `num_frames`.

    Raises ValueError if the cache lacks the corpus, its actions are hidden, or no episode of the split is long
    enough.
    """
    episodes = cache.episodes[cache.episodes["corpus"] == corpus]
    if episodes.empty:
        known = ", ".join(sorted(set(cache.episodes["corpus"])))
        raise ValueError(f"pairs: corpus {corpus!r} is not in the clip cache; it holds {known}")
    dimensions = int(episodes["action_dim"].iloc[0])
    if not dimensions:
        raise ValueError(f"pairs: corpus {corpus!r} has no recorded actions, or they are hidden; choose one that shows them")
    stride = int(episodes["stride"].iloc[0])
    rows = episodes.loc[episodes["split"] == split, ["offset", "frames"]].to_numpy()
    # not in paper: because the paper does not say with how much context a probed action is read, clips are as long as
    # in training and each begins with the last frame of the one before, so that every pair is read once.
    span = (num_frames - 1) * stride
    starts = np.concatenate([np.empty(0, np.int64), *(offset + np.arange(0, frames - span, span) for offset, frames in rows)])
    if not len(starts):
        raise ValueError(f"pairs: corpus {corpus!r} has no {split} episode of {num_frames} frames at its stride of {stride}")
    wanted = max(1, min(len(starts), -(-count // (num_frames - 1))))
    starts = starts[np.linspace(0, len(starts) - 1, wanted).round().astype(np.int64)]
    # not in paper: because an action is recorded for every frame and a pair may lie several frames apart, the target
    # is the mean of the actions in between; of velocities it is the whole motion, up to a factor.
    between = starts[:, None] + np.arange(span)
    actions = cache.actions[between, :dimensions].reshape(len(starts), num_frames - 1, stride, dimensions).mean(2)
    names = str(episodes["action_names"].iloc[0])
    return Pairs(starts[:, None] + stride * np.arange(num_frames), actions, tuple(names.split(",")) if names else ())
