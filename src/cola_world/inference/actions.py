"""The latent actions of a video as a table: one row per frame pair, in parquet, written while the video is read.

Shape letters: B clips, T frames, A actions (= T - 1), Z values of an action, Y X pixels.
"""

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from cola_world.data.video import shrink
from cola_world.models.pixels import to_video
from cola_world.models.quantizer import Quantized
from cola_world.running.files import renamed
from cola_world.running.progress import Progress
from cola_world.weights.hub import Frames, LatentActionModel

# `frame` and `seconds` are those of the earlier frame of the pair; `vector` is the action as the world model takes it.
SCHEMA = pa.schema(
    [("frame", pa.int64()), ("seconds", pa.float64()), ("indices", pa.list_(pa.int32())), ("vector", pa.list_(pa.float32()))]
)
UNKNOWN_FPS = Fraction(10)  # for a video that does not say


class Frame(NamedTuple):
    """`index` counts the video's frames from 0; `picture` is uint8 RGB [Y, X, 3]."""

    index: int
    seconds: float
    picture: np.ndarray


def picture(frame: np.ndarray, frames: Frames, size: int) -> np.ndarray:
    """Cut uint8 RGB [Y, X, 3] as in training: the middle square, shrunk, then the middle crop. `size` if none is
    recorded.
    """
    whole = shrink(frame, frames.size or size)
    crop = frames.crop or size
    start = (len(whole) - crop) // 2
    return whole[start : start + crop, start : start + crop].copy()


def about_video(path: Path) -> tuple[int, Fraction]:
    """Return (frames as the header says, or 0; frames per second). Raises ValueError if there is no video."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            return stream.frames, stream.average_rate or UNKNOWN_FPS
    except (av.error.FFmpegError, IndexError) as error:
        raise ValueError(f"{path}: cannot be opened as video ({type(error).__name__})") from None


def read_frames(path: Path, stride: int) -> Iterator[Frame]:
    """Yield every `stride`-th frame, decoded in order."""
    index = 0
    try:
        with av.open(str(path)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                if index % stride == 0:
                    yield Frame(index, float(frame.time or 0), frame.to_ndarray(format="rgb24"))
    except av.error.FFmpegError as error:
        raise ValueError(f"{path}: cannot be decoded after frame {index} ({type(error).__name__})") from None


def windows(frames: Iterator[Frame], length: int) -> Iterator[list[Frame]]:
    """Yield windows of `length` frames, each beginning with the last frame of the one before. The last may be
    shorter.
    """
    # not in paper: because an action of a longer video could be read with more or less of its past, windows are as
    # long as training clips and every frame pair is in one of them.
    last = list(islice(frames, 1))
    while more := list(islice(frames, length - 1)):
        yield last + more
        last = more[-1:]


def batches(items: Iterator[list[Frame]], size: int) -> Iterator[list[list[Frame]]]:
    """Yield up to `size` windows of equal length at a time."""
    batch: list[list[Frame]] = []
    for item in items:
        if batch and (len(batch) == size or len(item) != len(batch[0])):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


@torch.no_grad()
def encode_batch(lam: LatentActionModel, batch: list[list[Frame]]) -> pa.RecordBatch:
    """Return the rows of the table for windows of equal length."""
    config = lam.model_config
    video = np.stack([[picture(frame.picture, config.frames, config.system.idm.image_size) for frame in window] for window in batch])
    actions = lam.latent_actions(to_video(video).to(next(lam.parameters()).device))
    pairs = [frame for window in batch for frame in window[:-1]]
    vectors_NZ = actions.z_BAMZ.flatten(2).flatten(0, 1)
    # Continuous actions have no codes.
    indices_NM = actions.indices_BAM.flatten(0, 1).tolist() if isinstance(actions, Quantized) else [[]] * len(pairs)
    columns = ([p.index for p in pairs], [p.seconds for p in pairs], indices_NM, list(vectors_NZ.cpu().numpy()))
    return pa.record_batch([pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def encode(video: Path, lam: LatentActionModel, out: Path, progress: Progress, stride: int = 1, batch: int = 16) -> int:
    """Write the actions between every `stride`-th frame of `video` to `out` -> their number. Holds one batch in
    memory.

    Raises ValueError in one line for a video that cannot be read or has fewer than two such frames.
    """
    total, fps = about_video(video)
    schema = SCHEMA.with_metadata({"fps": str(Fraction(fps) / stride), "stride": str(stride), "video": video.name})
    done = 0
    with renamed(out) as partial, pq.ParquetWriter(partial, schema) as writer:
        for group in batches(windows(read_frames(video, stride), lam.model_config.frames.num_frames), batch):
            rows = encode_batch(lam, group)
            writer.write_batch(rows)
            done += rows.num_rows
            progress(done, max(done, (total - 1) // stride))
        if not done:
            raise ValueError(f"{video}: it has fewer than two frames at stride {stride}; an action needs two")
    return done


class Actions(NamedTuple):
    z_AZ: torch.Tensor
    fps: Fraction


def read_actions(path: Path) -> Actions:
    """Read the vectors and the frame rate of a table that `encode` wrote. Raises ValueError for any other file."""
    try:
        table = pq.read_table(path, columns=["vector"])
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: no table of actions that `cola encode-actions` wrote ({str(error).partition(chr(10))[0]})") from None
    if table.column_names != ["vector"] or not table.num_rows:
        raise ValueError(f"{path}: it has no column `vector` with actions; `cola encode-actions` writes it")
    vectors = np.stack(table["vector"].to_numpy())
    return Actions(torch.from_numpy(vectors), Fraction((table.schema.metadata or {}).get(b"fps", str(UNKNOWN_FPS).encode()).decode()))
