"""Write LeRobot data sets v3.0. The same episodes give the same bytes."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cola_world.data.lerobot import CAMERA
from cola_world.data.video import VideoWriter

DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-000/file-000.parquet"
# A broken mp4 costs all of its episodes, so a file holds few. LeRobot itself limits megabytes only.
EPISODES_PER_VIDEO = 10
CHUNK_SIZE = 1000


@dataclass
class LeRobotWriter:
    """Writes a v3.0 data set episode by episode; `finish` completes it."""

    root: Path
    fps: int
    size: tuple[int, int]  # width, height
    action_dim: int  # 0: no action column
    robot: str
    action_names: tuple[str, ...] = ()  # one a dimension, or none
    _episodes: list[dict] = field(default_factory=list)
    _tables: list[pa.Table] = field(default_factory=list)
    _tasks: dict[str, int] = field(default_factory=dict)
    _stats: list[dict] = field(default_factory=list)
    _video: VideoWriter | None = None

    def add(self, frames: np.ndarray, actions: np.ndarray, task: str) -> None:
        """frames uint8 [F, H, W, 3]; actions float32 [F, A], ignored if `action_dim` is 0."""
        number = len(self._episodes)
        file = number // EPISODES_PER_VIDEO
        if number % EPISODES_PER_VIDEO == 0:
            self._next_video(file)
        first, start = self._video.frames, sum(row["length"] for row in self._episodes)
        self._video.add(frames)
        columns = self._columns(number, start, actions, len(frames), self._tasks.setdefault(task, len(self._tasks)))
        self._tables.append(pa.table(columns))
        self._stats.append(_stats(frames, columns))
        place = {"chunk_index": file // CHUNK_SIZE, "file_index": file % CHUNK_SIZE}
        self._episodes.append(
            {"episode_index": number, "tasks": [task], "length": len(frames), "data/chunk_index": 0, "data/file_index": 0}
            | {"dataset_from_index": start, "dataset_to_index": start + len(frames)}
            | {f"videos/{CAMERA}/{key}": value for key, value in place.items()}
            | {f"videos/{CAMERA}/from_timestamp": first / self.fps}
            | {f"videos/{CAMERA}/to_timestamp": self._video.frames / self.fps}
            | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
            | {f"stats/{name}/{kind}": _listed(value) for name, row in self._stats[-1].items() for kind, value in row.items()}
        )

    def _next_video(self, file: int) -> None:
        if self._video is not None:
            self._video.close()
        place = VIDEO_PATH.format(video_key=CAMERA, chunk_index=file // CHUNK_SIZE, file_index=file % CHUNK_SIZE)
        self._video = VideoWriter(self.root / place, fps=self.fps, width=self.size[0], height=self.size[1])

    def _columns(self, number: int, start: int, actions: np.ndarray, count: int, task: int) -> dict[str, pa.Array]:
        index = np.arange(count, dtype=np.int64)
        columns = {
            "timestamp": pa.array((index / self.fps).astype(np.float32)),
            "frame_index": pa.array(index),
            "episode_index": pa.array(np.full(count, number, np.int64)),
            "index": pa.array(index + start),
            "task_index": pa.array(np.full(count, task, np.int64)),
        }
        if self.action_dim:
            values = pa.array(np.ascontiguousarray(actions, np.float32).reshape(-1))
            columns["action"] = pa.FixedSizeListArray.from_arrays(values, self.action_dim)
        return columns

    def finish(self) -> None:
        """Write what is known only at the end. Raises ValueError if no episode was added."""
        if self._video is None:
            raise ValueError(f"{self.root}: a data set needs at least one episode")
        self._video.close()
        _write_table(pa.concat_tables(self._tables), self.root / DATA_PATH.format(chunk_index=0, file_index=0))
        _write_table(pa.Table.from_pylist(self._episodes), self.root / EPISODES_PATH)
        _write_table(_task_table(self._tasks), self.root / "meta/tasks.parquet")
        _write_json({name: _pooled([row[name] for row in self._stats]) for name in self._stats[0]}, self.root / "meta/stats.json")
        _write_json(self._info(), self.root / "meta/info.json")

    def _info(self) -> dict:
        scalars = {"timestamp": "float32"} | dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64")
        features: dict[str, dict] = {name: {"dtype": kind, "shape": [1], "names": None} for name, kind in scalars.items()}
        codec = {"video.codec": "h264", "video.pix_fmt": "yuv420p", "video.fps": self.fps, "has_audio": False}
        shape = [self.size[1], self.size[0], 3]
        features[CAMERA] = {"dtype": "video", "shape": shape, "names": ["height", "width", "channels"], "info": codec}
        if self.action_dim:
            features["action"] = {"dtype": "float32", "shape": [self.action_dim], "names": list(self.action_names) or None}
        return {
            "codebase_version": "v3.0",
            "robot_type": self.robot,
            "fps": self.fps,
            "total_episodes": len(self._episodes),
            "total_frames": sum(row["length"] for row in self._episodes),
            "total_tasks": len(self._tasks),
            "chunks_size": CHUNK_SIZE,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "splits": {"train": f"0:{len(self._episodes)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH,
            "features": features,
        }


def write_dataset(root: Path, episodes: Iterable[tuple[np.ndarray, np.ndarray, str]], **settings: object) -> None:
    """Write all episodes (frames, actions, task). `settings` are those of LeRobotWriter."""
    writer = LeRobotWriter(root, **settings)
    for frames, actions, task in episodes:
        writer.add(frames, actions, task)
    writer.finish()


def _stats(frames: np.ndarray, columns: dict[str, pa.Array]) -> dict[str, dict[str, np.ndarray]]:
    """Return min, max, mean, std of each feature [A] or, for pictures in [0, 1], [3, 1, 1]; and the count [1]."""
    pixels = frames.reshape(-1, 3) / 255.0
    values = {CAMERA: pixels}
    for name, column in columns.items():
        flat = column.flatten() if name == "action" else column
        values[name] = flat.to_numpy().astype(np.float64).reshape(len(frames), -1)
    out = {}
    for name, array in values.items():
        shape = (3, 1, 1) if name == CAMERA else (-1,)
        kinds = {"min": array.min(0), "max": array.max(0), "mean": array.mean(0), "std": array.std(0)}
        out[name] = {kind: value.reshape(shape) for kind, value in kinds.items()} | {"count": np.array([len(frames)])}
    return out


def _pooled(rows: list[dict[str, np.ndarray]]) -> dict[str, list]:
    count = np.array([row["count"][0] for row in rows], float)
    weight = (count / count.sum()).reshape(-1, *[1] * rows[0]["mean"].ndim)
    mean = (weight * np.stack([row["mean"] for row in rows])).sum(0)
    spread = np.stack([row["std"] ** 2 + (row["mean"] - mean) ** 2 for row in rows])
    pooled = {
        "min": np.min([row["min"] for row in rows], axis=0),
        "max": np.max([row["max"] for row in rows], axis=0),
        "mean": mean,
        "std": np.sqrt((weight * spread).sum(0)),
        "count": np.array([int(count.sum())]),
    }
    return {kind: _listed(value) for kind, value in pooled.items()}


def _task_table(tasks: dict[str, int]) -> pa.Table:
    """LeRobot reads this file as a data frame whose index is the task. pandas is left out, for it is slow to import."""
    table = pa.table({"task_index": pa.array(list(tasks.values()), pa.int64()), "task": list(tasks)})
    kinds = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy_kind, "metadata": None}
        for name, (kind, numpy_kind) in kinds.items()
    ]
    frame = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    return table.replace_schema_metadata({"pandas": json.dumps(frame)})


def _listed(value: np.ndarray) -> list:
    return value.tolist()


def _write_table(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def _write_json(content: dict, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
