"""The two kinds of video metrics: those that compare frames, and those that compare sets of clips by features.

Shape letters: N frames, B clips, T frames of a clip, C colours, Y X pixels, D features.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from cola_world.metrics.protocol import Network


@dataclass(frozen=True)
class FrameMetric:
    """A number for each pair of frames: `compare(generated_NCYX, real_NCYX)`, RGB in [0, 1] -> [N].

    `name` is that of results.csv. `smallest` is the least height and width. `side` is that of the frames that a
    network sees, if it scales them itself.
    """

    name: str
    title: str
    compare: Callable[[Tensor, Tensor], Tensor]
    how: str = ""
    network: Network | None = None
    smallest: int = 1
    side: int | None = None


@dataclass(frozen=True)
class ClipFeatures:
    """Features of clips whose distributions are compared: `describe(video_BTCYX)`, RGB in [0, 1] -> [B, D].

    `fewest` is the least number of frames; for `side` see FrameMetric.
    """

    name: str
    title: str
    describe: Callable[[Tensor], Tensor]
    network: Network
    fewest: int = 1
    smallest: int = 1
    side: int | None = None
