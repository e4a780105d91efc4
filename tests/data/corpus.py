"""Small corpora with known pixels, for the tests of the data layer."""

from pathlib import Path

import numpy as np

from cola_world.data.corpora import CorpusConfig
from cola_world.data.lerobot_writer import write_dataset

FPS, SIZE, FRAMES = 10, 32, 12


def pictures(episode: int, frames: int = FRAMES) -> np.ndarray:
    """Flat pictures whose grey level tells episode and frame apart, also after compression: uint8 [F, H, W, 3]."""
    grey = 20 + 40 * (episode % 5) + 3 * np.arange(frames)
    return np.broadcast_to(grey[:, None, None, None], (frames, SIZE, SIZE, 3)).astype(np.uint8)


def actions(episode: int, width: int, frames: int = FRAMES) -> np.ndarray:
    return (np.arange(frames * width).reshape(frames, width) + 1000 * episode).astype(np.float32)


def write_corpus(root: Path, episodes: int, action_dim: int = 2, frames: int = FRAMES, names: tuple[str, ...] = ()) -> None:
    rows = ((pictures(i, frames), actions(i, action_dim, frames), f"task {i % 2}") for i in range(episodes))
    write_dataset(root, rows, fps=FPS, size=(SIZE, SIZE), action_dim=action_dim, robot="none", action_names=names)


def brought(root: Path, *names: str, **fields: object) -> dict[str, CorpusConfig]:
    """Corpora that lie below `root`."""
    return {name: CorpusConfig(path=str(root / name), group="oxe", **fields) for name in names}
