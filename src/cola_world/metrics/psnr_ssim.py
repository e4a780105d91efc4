"""PSNR and SSIM of frames, as scikit-image defines them.

Shape letters: N frames, C colours, Y X pixels, y x windows that lie within the frame, Q quantities that are averaged.
"""

import math

import torch
from torch import Tensor

from cola_world.metrics.metric_types import FrameMetric

# Wang et al. (2004): a Gaussian window of 11 pixels with sigma 1.5, and two constants that keep quotients finite.
WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
weights = [math.exp(-((i - WINDOW // 2) ** 2) / (2 * SIGMA**2)) for i in range(WINDOW)]
GAUSSIAN = [weight / sum(weights) for weight in weights]


def psnr(generated_NCYX: Tensor, real_NCYX: Tensor) -> Tensor:
    """Map RGB in [0, 1] to decibels [N] over all pixels and colours of a frame; infinite if both are equal."""
    mse_N = (generated_NCYX - real_NCYX).square().mean((1, 2, 3), dtype=torch.float64)
    return -10 * mse_N.log10()


def ssim(generated_NCYX: Tensor, real_NCYX: Tensor) -> Tensor:
    """Map RGB in [0, 1] to structural similarity [N], at most 1: the mean over colours and windows within the frame.

    Works on the sum and difference of the frames, which takes four averages instead of five. Means of whole frames
    are taken off first, so that flat regions, whose variance is a difference of equal numbers, keep their digits.
    """
    both_QNCYX = torch.stack((generated_NCYX + real_NCYX, generated_NCYX - real_NCYX))
    level_QNC11 = both_QNCYX.mean((-2, -1), keepdim=True)
    both_QNCYX -= level_QNC11
    averages = blur(torch.cat((both_QNCYX, both_QNCYX.square())))
    means, squares = averages[:2], averages[2:]
    variances = squares - means.square()
    luminance, contrast = (compare(parts, constant) for parts, constant in (((means + level_QNC11).square(), C1), (variances, C2)))
    return (luminance * contrast).mean((1, 2, 3), dtype=torch.float64)


def compare(of_sum_and_difference: Tensor, constant: float) -> Tensor:
    """Return (2ab + c) / (a^2 + b^2 + c) from the squares of a + b and a - b."""
    s, d = of_sum_and_difference
    return (s - d + 2 * constant) / (s + d + 2 * constant)


def blur(values: Tensor) -> Tensor:
    """Average […, Y, X] -> [..., y, x] by a Gaussian, as a sum of shifted copies: one-channel convolutions are slow
    on a CPU.
    """
    for axis in (-1, -2):
        kept = values.shape[axis] - WINDOW + 1
        total = values.narrow(axis, 0, kept) * GAUSSIAN[0]
        for start in range(1, WINDOW):
            total.add_(values.narrow(axis, start, kept), alpha=GAUSSIAN[start])
        values = total
    return values


# not in paper: because it names no implementation, SSIM has its authors' window, and PSNR is that of a frame, not of
# a clip.
PSNR = FrameMetric("video/psnr", "PSNR", psnr, "dB of each frame")
SSIM = FrameMetric("video/ssim", "SSIM", ssim, f"Gaussian window {WINDOW}, sigma {SIGMA}", smallest=WINDOW)
PIXELS = (PSNR, SSIM)
