"""Score predicted videos: a value for each metric, with its bootstrap interval over clips.

Shape letters: N clips, T frames of a clip, C colours, Y X pixels, D features.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

from cola_world.metrics.intervals import DISTANCE_RESAMPLES, RESAMPLES, of_distance, of_mean
from cola_world.metrics.metric_types import ClipFeatures, FrameMetric
from cola_world.metrics.protocol import Measured
from cola_world.metrics.video import VideoMetrics


class Score(NamedTuple):
    """The value of a metric on a set of clips, and the ends of its 95 % interval if it has one."""

    metric: str
    value: float
    interval: tuple[float, float] | None
    protocol: str

    @classmethod
    def of(cls, name: str, found: Measured, interval: tuple[float, float] | None, resamples: int) -> Self:
        told = f", interval of {resamples} resamples of clips" if interval else ""
        return cls(name, found.value, interval, f"{found.protocol}{told}")

    def rows(self, ending: str = "") -> dict[str, float]:
        """Map metric names of results.csv to values; `ending` follows the metric's own name."""
        ends = zip(("low", "high"), self.interval or (), strict=False)
        name = f"{self.metric}{ending}"
        return {name: self.value} | {f"{name}_{end}": value for end, value in ends}


def measure(
    generated_NTCYX: Tensor, real_NTCYX: Tensor, given: int, metrics: Sequence[FrameMetric | ClipFeatures], device: torch.device | str
) -> list[Score]:
    """Score clips whose first `given` frames were shown to the model; RGB in [0, 1]."""
    measuring = VideoMetrics(given, metrics, device)
    measuring.update(generated_NTCYX, real_NTCYX)
    results = measuring.results()
    values = {name: torch.cat(parts, dim=-2) for name, parts in measuring.values.items()}
    intervals = {metric.name: (of_mean(values[metric.name].mean(1)), RESAMPLES) for metric in measuring.of_frames}
    for metric in measuring.of_clips:
        intervals[metric.name] = of_distance(*values[metric.name], results[metric.name].value), DISTANCE_RESAMPLES
    return [Score.of(name, found, *intervals.get(name, (None, 0))) for name, found in results.items()]
