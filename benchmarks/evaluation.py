"""Video metrics, many clips at a time, against one clip at a time as evaluation scripts commonly go, as ratios.

Run: python -m benchmarks.evaluation (two minutes on one core); writes benchmarks/evaluation.md. Weights are random: they do not
change what a network costs. I3D is not measured, for its file is not part of this repository.
"""

import functools
import platform
from collections.abc import Callable
from pathlib import Path

import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from benchmarks.measuring import Ratio, Work, compare
from cola_world.metrics.encoder import EncoderConfig, SimEncoder, VideoEncoder
from cola_world.metrics.lpips import Trunk, lpips
from cola_world.metrics.metric_types import ClipFeatures, FrameMetric
from cola_world.metrics.psnr_ssim import PSNR, SSIM
from cola_world.metrics.video import VideoMetrics
from cola_world.models.torchvision_import import import_torchvision, import_with_torchvision

OUT = Path(__file__).with_suffix(".md")
# Clips, frames and side: those of the profile `cpu`, and 16 frames as video metrics are commonly taken on.
SHAPES = {"3 frames of 32 px": (192, 3, 32), "16 frames of 64 px": (12, 16, 64)}
Pair = tuple[Tensor, Tensor]


@functools.cache
def videos(shape: str) -> Pair:
    clips, frames, side = SHAPES[shape]
    real = torch.rand(clips, frames, 3, side, side, generator=torch.Generator().manual_seed(0))
    return (real + 0.1 * torch.randn(real.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1), real


def ours(metric: FrameMetric | ClipFeatures, pair: Pair) -> Work:
    measuring = VideoMetrics(given=0)

    def work() -> None:
        with torch.inference_mode():
            if isinstance(metric, FrameMetric):
                measuring.compare(metric, *pair)
            else:
                [measuring.describe(metric, video) for video in pair]

    return work


def one_by_one(pair: Pair, function: Callable[..., object]) -> Work:
    """`function` of each clip of both videos."""

    def work() -> None:
        with torch.no_grad():
            for clips in zip(*pair, strict=True):
                function(*clips)

    return work


def skimage_psnr(generated: Tensor, real: Tensor) -> None:
    for a, b in zip(generated.numpy(), real.numpy(), strict=True):
        peak_signal_noise_ratio(b, a, data_range=1.0)


def skimage_ssim(generated: Tensor, real: Tensor) -> None:
    options = {"data_range": 1.0, "channel_axis": 0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    for a, b in zip(generated.numpy(), real.numpy(), strict=True):
        structural_similarity(a, b, **options)


@functools.cache
def lpips_pair(trunk: Trunk) -> tuple[FrameMetric, Callable[..., object]]:
    """Ours and the package's model, both with a random trunk."""
    models = import_torchvision().models
    state = (models.alexnet if trunk == "alex" else models.vgg16)().state_dict()
    package = import_with_torchvision("lpips").LPIPS(net=trunk, pnet_rand=True, verbose=False)
    return lpips(trunk, state, "0" * 64), functools.partial(package, normalize=True)


@functools.cache
def encoder() -> SimEncoder:
    return SimEncoder(VideoEncoder(EncoderConfig()), "0" * 64)


def one_clip_features(generated: Tensor, real: Tensor) -> None:
    for clip in (generated, real):
        encoder().encoder(clip[None])


def cases() -> dict[str, tuple[FrameMetric | ClipFeatures, str, Callable[..., object]]]:
    """Metric -> ours, and the form that takes one clip at a time with its name."""
    alex, vgg = lpips_pair("alex"), lpips_pair("vgg")
    return {
        "PSNR": (PSNR, "scikit-image, frame by frame", skimage_psnr),
        "SSIM": (SSIM, "scikit-image, frame by frame", skimage_ssim),
        "LPIPS-alex": (alex[0], "package lpips, clip by clip", alex[1]),
        "LPIPS-vgg": (vgg[0], "package lpips, clip by clip", vgg[1]),
        "LPIPS-sim": (encoder().lpips(), "the same, clip by clip", encoder().encoder.distance),
        "FVD-sim, features": (encoder().fvd(), "the same, clip by clip", one_clip_features),
    }


HEADING = """# Video metrics, many clips at a time against one clip at a time

Made by `python -m benchmarks.evaluation` on {threads} thread{s} of a {machine} CPU, torch {torch}. Both forms take turns in one process;
the ratio is the median over turns, and its quartiles follow. Random weights; I3D is not measured, for its file is not in this repository.
Where one clip is enough to fill the cores, as of 16 frames of 64 px in a network, many at a time gain nothing on a CPU.

| metric | clips | ours, clips/s | one at a time, clips/s | ratio | quartiles | one at a time is |
|---|---|---|---|---|---|---|
"""


def row(name: str, shape: str) -> str:
    metric, what, function = cases()[name]
    pair, count = videos(shape), SHAPES[shape][0]
    if name == "LPIPS-vgg":
        count = max(4, count // 8)
    pair = tuple(video[:count] for video in pair)
    result: Ratio = compare(ours(metric, pair), one_by_one(pair, function), turns=5, warm_up=1)
    line = f"| {name} | {shape} | {count / result.ours_s:.0f} | {count / result.other_s:.0f} | "
    return line + f"{result.ratio:.1f} | {result.low:.1f} to {result.high:.1f} | {what} |"


def main() -> None:
    threads = torch.get_num_threads()
    heading = HEADING.format(threads=threads, s="s" * (threads > 1), machine=platform.machine(), torch=torch.__version__)
    rows = []
    for shape in SHAPES:
        for name in cases():
            rows.append(row(name, shape))
            print(rows[-1], flush=True)
    OUT.write_text(heading + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
