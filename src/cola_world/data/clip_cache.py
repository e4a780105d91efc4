"""Build the clip cache: decode every video file once, in order, and set aside what is broken with its reason."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from cola_world.data.clips import mix
from cola_world.data.video import UnreadableVideo, decode, shrink
from cola_world.running.files import file_hash
from cola_world.running.progress import Bar

EPISODE_COLUMNS = [
    *("corpus", "group", "episode", "split", "offset", "frames", "fps"),
    *("action_dim", "action_names", "stride", "evaluation_only"),
]
QUARANTINE_COLUMNS = ["corpus", "episode", "path", "reason"]


@dataclass
class _Cache:
    """Frames are appended to the file as they come, so that the corpus need not fit into memory."""

    folder: Path
    size: int
    num_frames: int  # of a clip, below which an episode is of no use
    width: int  # of the action array
    offset: int = 0
    episodes: list[dict] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    quarantine: list[dict] = field(default_factory=list)

    def keep(self, row: dict, actions: np.ndarray) -> None:
        self.episodes.append({name: row.get(name) for name in EPISODE_COLUMNS} | {"offset": self.offset})
        padded = np.zeros((row["frames"], self.width), np.float32)
        padded[:, : actions.shape[1]] = actions
        self.actions.append(padded if row["action_dim"] else np.full_like(padded, np.nan))
        self.offset += row["frames"]

    def reject(self, row: dict, reason: str) -> None:
        self.quarantine.append({"corpus": row["corpus"], "episode": row["episode"], "path": row["path"], "reason": reason})


def build_clips(manifest: pd.DataFrame, folder: str | Path, size: int, num_frames: int, mixture: Mapping[str, float] = {}) -> dict:
    """Write the cache into `folder` and return its card. The same inputs give the same bytes.

    `size`: side of its frames in pixels. `num_frames`: length of a clip; shorter episodes are set aside. With
    `mixture` (group -> weight) the card records the share of every corpus and the groups without one. Raises
    ValueError if a corpus has no usable train or val episode.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    cache = _Cache(folder, size, num_frames, max(1, int(manifest["action_dim"].max())))
    with _FrameFile(folder / "frames.npy", size) as frames, Bar("clips") as bar:
        files = list(manifest.groupby(["corpus", "path"], sort=False))
        for done, (_, rows) in enumerate(files):
            bar.update(done, len(files))
            _decode_file(rows.sort_values("first_frame").to_dict("records"), cache, frames)
        bar.update(len(files), len(files))
    _refuse_empty(manifest, cache)
    return _write(mixture, cache)


def _decode_file(rows: list[dict], cache: _Cache, frames: "_FrameFile") -> None:
    """Decode all episodes of one file."""
    reason = _file_fault(rows[0])
    pictures = iter(()) if reason else decode(Path(rows[0]["path"]))
    actions, position = _FileActions(), 0
    for row in rows:
        needed = (cache.num_frames - 1) * row["stride"] + 1
        if row["frames"] < needed:
            cache.reject(row, f"shorter than a clip: {row['frames']} frames, {needed} are needed")
            continue
        try:
            if reason:
                raise UnreadableVideo(reason)
            values = actions.of(row)
            _skip(pictures, row["first_frame"] - position)
            block = _take(pictures, row["frames"], cache.size)
        except UnreadableVideo as fault:
            reason = str(fault)  # nothing after a fault in the same file can be trusted
            cache.reject(row, reason)
            continue
        position = row["first_frame"] + row["frames"]
        frames.append(block)
        cache.keep(row, values)


def _file_fault(row: dict) -> str:
    """Return why the file of this row cannot be used, or an empty string."""
    path = Path(row["path"])
    if not path.is_file():
        return "the file is missing"
    actual = file_hash(path)
    if actual != row["sha256"]:
        return f"the checksum differs: manifest {row['sha256'][:12] or 'none'}, file {actual[:12]}"
    return ""


def _skip(pictures: Iterator[np.ndarray], count: int) -> None:
    for _ in range(count):
        if next(pictures, None) is None:
            raise UnreadableVideo("the video ends before the episode begins")


def _take(pictures: Iterator[np.ndarray], count: int, size: int) -> np.ndarray:
    block = np.empty((count, size, size, 3), np.uint8)
    for i in range(count):
        picture = next(pictures, None)
        if picture is None:
            raise UnreadableVideo(f"the video ends after {i} of the episode's {count} frames")
        block[i] = shrink(picture, size)
    return block


class _FileActions:
    """Action rows of episodes; holds one parquet file at a time."""

    def __init__(self) -> None:
        self.path, self.values = "", np.empty((0, 0), np.float32)

    def of(self, row: dict) -> np.ndarray:
        if not row["action_dim"]:
            return np.empty((row["frames"], 0), np.float32)
        if row["data_path"] != self.path:
            self._load(row)
        values = self.values[row["first_row"] : row["first_row"] + row["frames"]]
        if len(values) != row["frames"]:
            raise UnreadableVideo(f"actions: {len(values)} rows for {row['frames']} frames")
        return values

    def _load(self, row: dict) -> None:
        try:
            column = pq.read_table(row["data_path"], columns=["action"])["action"].combine_chunks()
        except (OSError, KeyError, ValueError) as error:
            raise UnreadableVideo(f"actions cannot be read ({type(error).__name__})") from None
        self.path, self.values = row["data_path"], column.flatten().to_numpy().astype(np.float32).reshape(-1, row["action_dim"])


class _FrameFile:
    """frames.npy. Its length is known only at the end, so its header is written last, into the room left for it."""

    HEADER = 128

    def __init__(self, path: Path, size: int):
        self.path, self.size, self.count = path, size, 0
        self.temporary = path.with_name(path.name + ".tmp")

    def __enter__(self) -> "_FrameFile":
        self.file = open(self.temporary, "wb")
        self.file.write(bytes(self.HEADER))
        return self

    def append(self, block: np.ndarray) -> None:
        self.file.write(block.tobytes())
        self.count += len(block)

    def __exit__(self, kind: object, *_: object) -> None:
        self.file.seek(0)
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.count, self.size, self.size, 3)}
        np.lib.format.write_array_header_1_0(self.file, header)
        assert self.file.tell() == self.HEADER
        self.file.close()
        if kind is None:
            self.temporary.rename(self.path)


def _refuse_empty(manifest: pd.DataFrame, cache: _Cache) -> None:
    for corpus, rows in manifest.groupby("corpus"):
        splits = {row["split"] for row in cache.episodes if row["corpus"] == corpus}
        for split in sorted(set(rows["split"]) - splits):
            reasons = Counter(row["reason"] for row in cache.quarantine if row["corpus"] == corpus)
            text, count = reasons.most_common(1)[0]
            raise ValueError(
                f"clips: every {split} episode of corpus {corpus!r} is unusable; commonest reason ({count} ×): {text}"
            )


def _write(shares: Mapping[str, float], cache: _Cache) -> dict:
    folder = cache.folder
    np.save(folder / "actions.npy", np.concatenate(cache.actions))
    episodes = pd.DataFrame(cache.episodes, columns=EPISODE_COLUMNS)
    episodes.to_parquet(folder / "episodes.parquet", index=False)
    with open(folder / "quarantine.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, QUARANTINE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(cache.quarantine)
    card = _card(episodes, shares, cache)
    (folder / "card.json").write_text(json.dumps(card, indent=1, sort_keys=True) + "\n")
    return card


def _card(episodes: pd.DataFrame, shares: Mapping[str, float], cache: _Cache) -> dict:
    groups = dict(zip(episodes["corpus"], episodes["group"], strict=True))
    bad = Counter(row["corpus"] for row in cache.quarantine)
    corpora = {
        name: {
            "group": group,
            "quarantined": bad[name],
            "splits": {
                split: {"episodes": len(rows), "frames": int(rows["frames"].sum()), "clips": _clip_count(rows, cache.num_frames)}
                for split, rows in episodes[episodes["corpus"] == name].groupby("split")
            },
        }
        for name, group in groups.items()
    }
    files = ("frames.npy", "actions.npy", "episodes.parquet", "quarantine.csv")
    card = {"size": cache.size, "num_frames": cache.num_frames, "frames": int(episodes["frames"].sum()), "corpora": corpora}
    card |= {"quarantined": len(cache.quarantine), "sha256": {name: file_hash(cache.folder / name) for name in files}}
    if shares:
        trained = episodes[~episodes["evaluation_only"]]
        mixture = mix(dict(zip(trained["corpus"], trained["group"], strict=True)), shares)
        card["mixture"] = {"weights": mixture.weights, "missing_groups": mixture.missing, "note": str(mixture)}
    return card


def _clip_count(rows: pd.DataFrame, num_frames: int) -> int:
    return int((rows["frames"] - (num_frames - 1) * rows["stride"]).sum())
