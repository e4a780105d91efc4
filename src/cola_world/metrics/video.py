"""Video metrics of generated clips against real ones, a few clips at a time. Every value carries its protocol.

Shape letters: B clips, T frames of a clip, P predicted frames, C colours, Y X pixels, N clips of the whole set, D
features.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from cola_world.metrics.fvd import grouped, pooled
from cola_world.metrics.metric_types import ClipFeatures, FrameMetric
from cola_world.metrics.protocol import Measured, Protocol
from cola_world.metrics.psnr_ssim import PIXELS

# Pixels of a batch through a network. More gain nothing on a CPU.
PIXELS_AT_A_TIME = 2**18
GROUP = 240


class VideoMetrics:
    """The metrics over all clips that `update` was called with.

    `given`: frames of each clip that the model was shown. Frame metrics leave them out. Clip features see whole
    clips, or only the predicted frames if `whole` is false. `group`: clips per group of the averaged Fréchet
    distance.
    """

    def __init__(
        self,
        given: int,
        metrics: Sequence[FrameMetric | ClipFeatures] = PIXELS,
        device: torch.device | str = "cpu",
        whole: bool = True,
        group: int = GROUP,
        pixels_at_a_time: int = PIXELS_AT_A_TIME,
    ):
        self.given, self.device, self.group, self.pixels_at_a_time = given, device, group, pixels_at_a_time
        # not in paper: because it does not say which frames are measured, frame metrics take the predicted ones
        # alone, and FVD takes the given ones too, so that it sees whether the prediction continues them.
        self.seen = 0 if whole else given
        names = [metric.name for metric in metrics]
        if len(set(names)) < len(names):
            raise ValueError(f"video: metrics are given twice: {', '.join(names)}; each at most once")
        self.of_frames = [metric for metric in metrics if isinstance(metric, FrameMetric)]
        self.of_clips = [metric for metric in metrics if isinstance(metric, ClipFeatures)]
        self.shape: torch.Size | None = None  # of one clip
        self.values: dict[str, list[Tensor]] = defaultdict(list)

    @torch.inference_mode()
    def update(self, generated_BTCYX: Tensor, real_BTCYX: Tensor) -> None:
        """Add RGB in [0, 1], clip by clip. Raises ValueError in one line, with nothing counted, if it cannot be
        measured.
        """
        self.check(generated_BTCYX, real_BTCYX)
        both = generated_BTCYX, real_BTCYX
        new = {metric.name: self.compare(metric, *both) for metric in self.of_frames}
        new |= {metric.name: torch.stack([self.describe(metric, video) for video in both]) for metric in self.of_clips}
        for name, values in new.items():
            if values.isnan().any():
                raise ValueError(f"{name}: the network gives values that are no numbers; are its weights the right ones?")
        self.shape = real_BTCYX.shape[1:]
        for name, values in new.items():
            self.values[name].append(values)

    def check(self, generated: Tensor, real: Tensor) -> None:
        for name, video in (("generated", generated), ("real", real)):
            check_video(name, video)
        if generated.shape != real.shape:
            raise ValueError(f"video: generated is {tuple(generated.shape)} and real {tuple(real.shape)}; they must be of one shape")
        clip, (frames, _, *size) = real.shape[1:], real.shape[1:]
        if not 0 <= self.given < frames:
            raise ValueError(f"video: {self.given} given frames leave none to measure in clips of {frames}; at most {frames - 1}")
        for metric in (*self.of_frames, *self.of_clips):
            if min(size) < metric.smallest:
                raise ValueError(f"{metric.title}: frames are {size[0]}x{size[1]}; at least {metric.smallest} pixels a side are needed")
        for metric in self.of_clips:
            if frames - self.seen < metric.fewest:
                seen = f"{metric.network.name} would see {frames - self.seen} frames of each clip"
                raise ValueError(f"{metric.title}: {seen}; it needs at least {metric.fewest}")
        if self.shape not in (None, clip):
            raise ValueError(f"video: clips are {tuple(clip)} and those before were {tuple(self.shape)}; a set is of one shape")

    def compare(self, metric: FrameMetric, generated_BTCYX: Tensor, real_BTCYX: Tensor) -> Tensor:
        """Return one value per predicted frame [B, P]."""
        pairs = [video[:, self.given :].flatten(0, 1) for video in (generated_BTCYX, real_BTCYX)]
        values = self.in_parts(metric, metric.compare, *pairs)
        return values.unflatten(0, (len(real_BTCYX), -1))

    def describe(self, metric: ClipFeatures, video_BTCYX: Tensor) -> Tensor:
        """Return the features of each clip [B, D]."""
        return self.in_parts(metric, metric.describe, video_BTCYX[:, self.seen :])

    def in_parts(self, metric: FrameMetric | ClipFeatures, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Apply `function` to as many rows at a time as pixels allow, and continue in double precision."""
        height, width = (metric.side or size for size in inputs[0].shape[-2:])
        frames = inputs[0].shape[1] if inputs[0].ndim == 5 else 1
        rows = max(1, self.pixels_at_a_time // (frames * height * width))
        parts = zip(*(values.split(rows) for values in inputs), strict=True)
        return torch.cat([function(*(part.to(self.device).float() for part in rows)).double().cpu() for rows in parts])

    def results(self) -> dict[str, Measured]:
        """Map metric names of results.csv to values with protocols. Warns if a Fréchet distance has too few clips."""
        if self.shape is None:
            raise ValueError("video: no clips were given; at least one is needed")
        found = {metric.name: self.mean(metric) for metric in self.of_frames}
        for metric in self.of_clips:
            generated_ND, real_ND = torch.cat(self.values[metric.name], 1)
            for name, distance in (
                (metric.name, pooled(metric.title, generated_ND, real_ND)),
                (f"{metric.name}_grouped", grouped(metric.title, generated_ND, real_ND, self.group)),
            ):
                found[name] = Measured(distance.value, self.protocol(metric, len(real_ND), self.seen, distance.how))
        return found

    def mean(self, metric: FrameMetric) -> Measured:
        values_NP = torch.cat(self.values[metric.name])
        how = f"mean of frames and clips{', ' + metric.how if metric.how else ''}"
        by_frame = tuple(values_NP.mean(0).tolist())
        return Measured(values_NP.mean().item(), self.protocol(metric, len(values_NP), self.given, how), by_frame)

    def protocol(self, metric: FrameMetric | ClipFeatures, clips: int, skipped: int, how: str) -> Protocol:
        frames, _, height, width = self.shape
        return Protocol(
            metric=metric.title, clips=clips, first=skipped + 1, last=frames, given=self.given,
            height=height, width=width, how=how, network=metric.network,
        )  # fmt: skip


def check_video(name: str, video: Tensor) -> None:
    """Raise ValueError in one line unless the video is RGB in [0, 1] [B, T, 3, Y, X]."""
    if video.ndim != 5 or video.shape[2] != 3 or not video.numel():
        raise ValueError(f"video: {name} has the shape {tuple(video.shape)}; expected clips, frames, 3 colours, height, width")
    if not video.is_floating_point():
        raise ValueError(f"video: {name} holds {video.dtype}; expected floats in [0, 1]: divide bytes by 255")
    low, high = (value.item() for value in video.aminmax())
    if not (low >= 0 and high <= 1):  # false for NaN too
        raise ValueError(f"video: {name} has values from {low:.4g} to {high:.4g}; expected [0, 1]")


def measure_videos(
    generated_NTCYX: Tensor, real_NTCYX: Tensor, given: int, metrics: Sequence[FrameMetric | ClipFeatures] = PIXELS, **options: Any
) -> dict[str, Measured]:
    """`VideoMetrics` of one set that is in memory as a whole. `options` are its other parameters."""
    measuring = VideoMetrics(given, metrics, **options)
    measuring.update(generated_NTCYX, real_NTCYX)
    return measuring.results()
