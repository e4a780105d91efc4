"""The index of all corpora: one row per episode. The video bytes stay where they are."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from cola_world.data.corpora import CorpusConfig
from cola_world.data.lerobot import EpisodeRef, LeRobotDataset, open_dataset
from cola_world.data.video import UnreadableVideo, frame_size
from cola_world.running.files import file_hash

COLUMNS = [
    *("corpus", "group", "episode", "split", "path", "first_frame", "frames", "from_timestamp", "to_timestamp"),
    *("fps", "width", "height", "action_dim", "action_names", "stride", "evaluation_only", "sha256", "data_path", "first_row"),
]


# not in paper: because the paper states no held-out share, a tenth of the episodes is held out.
HELD_OUT = 0.1


def build_manifest(corpora: Mapping[str, CorpusConfig], raw: str | Path = "data/raw", held_out: float = HELD_OUT) -> pd.DataFrame:
    """Index every corpus by its name. A missing or broken file stays in with size 0, and `clips` sets it aside.

    `raw` holds what is rendered. Raises ValueError if a corpus is missing altogether.
    """
    rows: list[dict] = []
    for name, corpus in sorted(corpora.items()):
        dataset = open_dataset(corpus.path or Path(raw) / name)
        chosen = held_out_episodes(name, [ref.episode for ref in dataset.episodes], held_out)
        files = {path: _inspect(path) for path in dict.fromkeys(ref.video for ref in dataset.episodes)}
        rows += [
            _row(name, corpus, dataset, ref) | files[ref.video] | {"split": "val" if ref.episode in chosen else "train"}
            for ref in dataset.episodes
        ]
    return pd.DataFrame(rows, columns=COLUMNS)


def held_out_episodes(corpus: str, episodes: list[int], fraction: float) -> set[int]:
    """Hold out the episodes whose hash falls below `fraction`: adding episodes never moves an old one.

    At least one episode is held out and, of two or more, at least one is kept for training.
    """
    if not episodes:
        raise ValueError(f"corpus {corpus!r} has no episodes; at least one is needed")
    position = {episode: _unit_hash(f"{corpus}/{episode}") for episode in episodes}
    order = sorted(episodes, key=position.__getitem__)
    chosen = [episode for episode in order if position[episode] < fraction] or order[:1]
    return set(chosen if len(chosen) < len(order) or len(order) == 1 else chosen[:-1])


def _row(name: str, corpus: CorpusConfig, dataset: LeRobotDataset, ref: EpisodeRef) -> dict:
    return {
        "corpus": name,
        "group": corpus.group,
        "episode": ref.episode,
        "path": ref.video.as_posix(),
        "first_frame": ref.first_frame,
        "frames": ref.frames,
        "from_timestamp": ref.first_frame / dataset.fps,
        "to_timestamp": (ref.first_frame + ref.frames) / dataset.fps,
        "fps": dataset.fps,
        "action_dim": 0 if corpus.hide_actions else dataset.action_dim,
        "action_names": "" if corpus.hide_actions else ",".join(dataset.action_names),
        "stride": corpus.stride,
        "evaluation_only": corpus.evaluation_only,
        "data_path": ref.data.as_posix(),
        "first_row": ref.first_row,
    }


def _inspect(path: Path) -> dict:
    if not path.is_file():
        return {"sha256": "", "width": 0, "height": 0}
    try:
        width, height = frame_size(path)
    except UnreadableVideo:
        width = height = 0
    return {"sha256": file_hash(path), "width": width, "height": height}


def _unit_hash(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
