"""Convert pictures to tensors and scale their values.

Shape letters: B clips, T frames, Y X pixels, C colour channels.
"""

import functools

import numpy as np
import torch
from torch import Tensor

# ImageNet statistics, with which the published LAM of the same authors normalises pixels.
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)


def channels_first(crops_BTYXC: np.ndarray) -> Tensor:
    """Move the channels of uint8 RGB forward: [B, T, Y, X, 3] -> [B, T, 3, Y, X]."""
    return torch.from_numpy(crops_BTYXC).permute(0, 1, 4, 2, 3)


def unit_pixels(video_BTCYX: Tensor) -> Tensor:
    """Scale uint8 RGB to [0, 1]; floats are taken to be in [0, 1] already. Caches hold bytes, which a GPU converts
    faster.
    """
    return video_BTCYX.float() / 255 if video_BTCYX.dtype == torch.uint8 else video_BTCYX


def to_video(crops_BTYXC: np.ndarray) -> Tensor:
    """Convert uint8 RGB [B, T, Y, X, 3] to [0, 1] [B, T, 3, Y, X]."""
    return unit_pixels(channels_first(crops_BTYXC))


@functools.cache
def pixel_statistics(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation [3, 1, 1], kept because a GPU would wait for a copy at each call."""
    return tuple(torch.tensor(values, device=device, dtype=dtype).view(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))


def unnormalise_pixels(pixels_BTCYX: Tensor) -> Tensor:
    """Undo `normalise_pixels`, and cut off what leaves [0, 1]."""
    mean_C11, std_C11 = pixel_statistics(pixels_BTCYX.device, pixels_BTCYX.dtype)
    return (pixels_BTCYX * std_C11 + mean_C11).clamp(0, 1)


def normalise_pixels(video_BTCYX: Tensor) -> Tensor:
    """Normalise RGB in [0, 1] by the ImageNet statistics."""
    mean_C11, std_C11 = pixel_statistics(video_BTCYX.device, video_BTCYX.dtype)
    return (video_BTCYX - mean_C11) / std_C11
