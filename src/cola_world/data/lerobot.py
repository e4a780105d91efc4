"""Read LeRobot data sets v2.0, v2.1 and v3.0 from disk: parquet and mp4, without the lerobot package."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CAMERA = "observation.images.main"


@dataclass(frozen=True)
class EpisodeRef:
    """Where an episode lies: a frame range of a video file, and a row range of a parquet file."""

    episode: int
    frames: int
    video: Path
    first_frame: int
    data: Path
    first_row: int  # among the rows of that parquet file


@dataclass(frozen=True)
class LeRobotDataset:
    root: Path
    fps: float
    action_dim: int  # 0 where no actions were recorded
    episodes: list[EpisodeRef]
    action_names: tuple[str, ...] = ()  # one a dimension, or none where the data set does not say

    def actions(self) -> dict[int, np.ndarray]:
        """Map episodes to float32 [F, A], reading each file once."""
        if self.action_dim == 0:
            return {}
        tables: dict[Path, np.ndarray] = {}
        for path in dict.fromkeys(ref.data for ref in self.episodes):
            column = pq.read_table(path, columns=["action"])["action"].combine_chunks()
            tables[path] = column.flatten().to_numpy().astype(np.float32).reshape(-1, self.action_dim)
        return {ref.episode: tables[ref.data][ref.first_row : ref.first_row + ref.frames] for ref in self.episodes}


def open_dataset(root: str | Path) -> LeRobotDataset:
    """Read the index of a data set. Raises ValueError if it is missing or of an unknown version."""
    root = Path(root)
    path = root / "meta/info.json"
    if not path.is_file():
        raise ValueError(f"{root}: not a LeRobot data set: {path} is missing")
    info = json.loads(path.read_text())
    version = str(info.get("codebase_version", ""))
    if not version.startswith(("v2.", "v3.")):
        raise ValueError(f"{path}: codebase_version {version!r} cannot be read; v2.0, v2.1 and v3.0 can")
    cameras = sorted(name for name, feature in info["features"].items() if feature["dtype"] == "video")
    if not cameras:
        raise ValueError(f"{path}: features has no video; at least one with dtype 'video' is needed")
    camera = CAMERA if CAMERA in cameras else cameras[0]
    action = info["features"].get("action")
    index = _index_v3 if version.startswith("v3.") else _index_v2
    action_dim = int(np.prod(action["shape"])) if action else 0
    return LeRobotDataset(root, float(info["fps"]), action_dim, index(root, info, camera), _names(action, action_dim))


def _names(action: dict | None, count: int) -> tuple[str, ...]:
    """Return the names of the dimensions. LeRobot has them as a list, a list below a key, keys with positions, or not
    at all.
    """
    names = (action or {}).get("names") or []
    if isinstance(names, dict):
        lists = [value for value in names.values() if isinstance(value, list)]
        names = lists[0] if lists else sorted(names, key=names.__getitem__)
    return tuple(map(str, names)) if len(names) == count else ()


def _index_v3(root: Path, info: dict, camera: str) -> list[EpisodeRef]:
    tables = [pq.read_table(path) for path in sorted(root.glob("meta/episodes/*/*.parquet"))]
    if not tables:
        raise ValueError(f"{root}: meta/episodes holds no parquet file")
    rows = pa.concat_tables(tables).sort_by("episode_index").to_pylist()
    first_rows: dict[tuple, int] = {}
    refs = []
    for row in rows:
        place = (row["data/chunk_index"], row["data/file_index"])
        first = first_rows.setdefault(place, row["dataset_from_index"])
        video = {key: row[f"videos/{camera}/{key}"] for key in ("chunk_index", "file_index")}
        refs.append(
            EpisodeRef(
                episode=row["episode_index"],
                frames=row["length"],
                video=root / info["video_path"].format(video_key=camera, **video),
                first_frame=round(row[f"videos/{camera}/from_timestamp"] * info["fps"]),
                data=root / info["data_path"].format(chunk_index=place[0], file_index=place[1]),
                first_row=row["dataset_from_index"] - first,
            )
        )
    return refs


def _index_v2(root: Path, info: dict, camera: str) -> list[EpisodeRef]:
    lines = (root / "meta/episodes.jsonl").read_text().splitlines()
    refs = []
    for row in sorted((json.loads(line) for line in lines if line), key=lambda row: row["episode_index"]):
        episode = row["episode_index"]
        names = {"episode_chunk": episode // info["chunks_size"], "episode_index": episode}
        video = root / info["video_path"].format(video_key=camera, **names)
        refs.append(EpisodeRef(episode, row["length"], video, 0, root / info["data_path"].format(**names), 0))
    return refs
