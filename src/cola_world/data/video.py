"""Read and write mp4. Writing is deterministic. Reading is sequential, since clips are decoded once and never sought
in.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image

try:
    import decord
except ImportError:  # no wheel for this platform: PyAV reads the same pixels
    decord = None

# crf 12: simulated pictures are clean, and the corpus is small. aq-mode none: one quantiser for a whole picture. The
# rest gives the same bytes on every run and every x86 processor since SSSE3: one thread, and no macroblock tree,
# whose floats differ with AVX-512.
X264 = {"crf": "12", "preset": "medium", "bf": "0", "g": "12", "threads": "1", "mbtree": "0", "aq-mode": "none"}
EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT  # colours alike with and without AVX2
CHUNK = 64  # frames held in memory at once while decoding


class UnreadableVideo(Exception):
    """A video file that cannot be decoded any further. The message is the reason, one line and without addresses."""


class VideoWriter:
    """Writes uint8 RGB frames [H, W, 3] into one h264 mp4, which is complete after `close`."""

    def __init__(self, path: Path, *, fps: int, width: int, height: int):
        self.path, self.frames, self.bytes = path, 0, 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(path), "w", format="mp4")
        self._stream = self._container.add_stream("libx264", rate=fps, options=X264)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._to_yuv = VideoReformatter()
        self._frame_duration = Fraction(1, fps)

    def add(self, frames: np.ndarray) -> None:
        """Append one episode [F, H, W, 3], which begins with a key frame."""
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame = self._to_yuv.reformat(frame, format="yuv420p", interpolation=EXACT, threads=1)
            frame.pts = self.frames
            frame.time_base = self._frame_duration
            frame.pict_type = av.video.frame.PictureType.I if index == 0 else av.video.frame.PictureType.NONE
            self._mux(self._stream.encode(frame))
            self.frames += 1

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            self.bytes += packet.size
            self._container.mux(packet)

    def close(self) -> None:
        self._mux(self._stream.encode(None))
        self._container.close()


def frame_size(path: Path) -> tuple[int, int]:
    """Return (width, height) in pixels. Raises UnreadableVideo if the file has no readable video stream."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            return stream.width, stream.height
    except (av.error.FFmpegError, IndexError) as error:
        raise UnreadableVideo(f"cannot be opened as video ({type(error).__name__})") from None


def decode(path: Path) -> Iterator[np.ndarray]:
    """Yield the frames in order as uint8 RGB [H, W, 3], each once. Raises UnreadableVideo where the file breaks off."""
    yield from _with_decord(path) if decord is not None else _with_pyav(path)


def _with_decord(path: Path) -> Iterator[np.ndarray]:
    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        total = len(reader)
    except (decord.DECORDError, RuntimeError, OSError) as error:
        raise UnreadableVideo(f"cannot be opened as video ({type(error).__name__})") from None
    for start in range(0, total, CHUNK):
        stop = min(start + CHUNK, total)
        try:
            yield from reader.get_batch(range(start, stop)).asnumpy()
        except (decord.DECORDError, RuntimeError) as error:
            raise UnreadableVideo(f"cannot be decoded after frame {start} of {total} ({type(error).__name__})") from None


def _with_pyav(path: Path) -> Iterator[np.ndarray]:
    count = 0
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
                count += 1
    except (av.error.FFmpegError, IndexError) as error:
        reason = f"cannot be decoded after frame {count}" if count else "cannot be opened as video"
        raise UnreadableVideo(f"{reason} ({type(error).__name__})") from None


def shrink(frame: np.ndarray, size: int) -> np.ndarray:
    """Average the middle square of a frame [H, W, 3] over areas, down to [size, size, 3]."""
    # not in paper: because nothing is said about the shape of the video, the middle square is taken.
    height, width = frame.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = frame[top : top + side, left : left + side]
    if side == size:
        return square
    return np.asarray(Image.fromarray(square).resize((size, size), Image.Resampling.BOX))
