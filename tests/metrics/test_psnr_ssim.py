"""PSNR and SSIM are scikit-image's, on the frames where rounding is worst, too."""

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from cola_world.metrics.psnr_ssim import psnr, ssim


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def halves(left: float, right: float) -> torch.Tensor:
    frames = torch.full((2, 3, 40, 40), left)
    frames[..., 20:] = right
    return frames


NOISE = rand(3, 3, 32, 45)
PAIRS = {
    "noise": (NOISE, (NOISE + 0.1 * (rand(3, 3, 32, 45, seed=1) - 0.5)).clamp(0, 1)),
    "other frames": (NOISE, NOISE.flip(0)),
    "nearly equal": (NOISE, (NOISE + 1e-4).clamp(0, 1)),
    "flat": (halves(0.75, 0.75), halves(0.25, 0.25)),
    "flat halves": (halves(0.9, 0.1), halves(0.5, 0.5)),
    "just one window": (rand(2, 3, 11, 11), rand(2, 3, 11, 11, seed=1)),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())
def test_both_equal_those_of_scikit_image(pair):
    frames = [[frame.double().numpy() for frame in frames] for frames in pair]
    options = {"data_range": 1.0, "channel_axis": 0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    for ours, theirs in (
        (ssim(*pair), [structural_similarity(a, b, **options) for a, b in zip(*frames, strict=True)]),
        (psnr(*pair), [peak_signal_noise_ratio(b, a, data_range=1.0) for a, b in zip(*frames, strict=True)]),
    ):
        assert ours.tolist() == pytest.approx(theirs, abs=1e-5)


def test_equal_frames_are_infinitely_and_wholly_alike():
    assert psnr(NOISE, NOISE).tolist() == [math.inf] * 3
    assert ssim(NOISE, NOISE).tolist() == pytest.approx([1.0] * 3, abs=1e-12)
