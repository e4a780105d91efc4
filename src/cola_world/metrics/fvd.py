"""FVD: the Fréchet distance of I3D features (Unterthiner et al., 2018), or of other features under their own name.

Shape letters: B clips, T frames, C colours, Y X pixels, N clips of a set, D features.
"""

import statistics
import warnings
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cola_world.metrics.frechet import frechet_distance, moments
from cola_world.metrics.metric_types import ClipFeatures
from cola_world.metrics.protocol import Network

# Fewest frames that I3D takes, and the side that it scales frames to.
I3D_FRAMES, I3D_SIDE = 10, 224


class Distance(NamedTuple):
    """A Fréchet distance, and how it was taken, in words."""

    value: float
    how: str


def i3d(path: Path, sha256: str, device: torch.device | str = "cpu") -> ClipFeatures:
    """Return logits of I3D trained on Kinetics-400, from a TorchScript file. It holds code, so verify `path` before."""
    network = torch.jit.load(path, map_location=device).eval()

    def describe(video_BTCYX: Tensor) -> Tensor:
        # Channels before frames, in [-1, 1]. The network itself scales frames to 224 x 224, bilinearly.
        return network(2 * video_BTCYX.transpose(1, 2) - 1, rescale=False, resize=True, return_features=True)

    return ClipFeatures("video/fvd", "FVD", describe, Network(name="i3d", sha256=sha256), fewest=I3D_FRAMES, side=I3D_SIDE)


def pooled(title: str, generated_ND: Tensor, real_ND: Tensor) -> Distance:
    """Take the distance over all clips at once. Warns if a covariance is rank-deficient, which biases it upwards."""
    both = moments(generated_ND), moments(real_ND)
    features, rank = generated_ND.shape[1], min(own.rank for own in both)
    how = "covariance 1/(N-1)"
    if rank < features:
        how += f" of rank {rank} in {features}"
        text = f"{title} of {len(generated_ND)} clips: a covariance of {features} features has rank {rank}; the distance is biased upwards"
        warnings.warn(f"{text}, compare it only with that of as many clips", stacklevel=2)
    return Distance(frechet_distance(*both), f"all clips at once, {how}")


def grouped(title: str, generated_ND: Tensor, real_ND: Tensor, size: int) -> Distance:
    """Average the distance over whole groups of `size` consecutive clips, or over one group if there are fewer."""
    # not in paper: because "240 clips per GPU, averaged" may mean an average of FVD over groups too small for its
    # covariance, both are given: over all clips, and averaged over groups.
    size = min(size, len(generated_ND))
    groups = len(generated_ND) // size
    parts = [sets[: groups * size].split(size) for sets in (generated_ND, real_ND)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        distances = [pooled(title, *group) for group in zip(*parts, strict=True)]
    if caught and groups > 1:
        warnings.warn(f"{caught[0].message} (in groups of {size})", stacklevel=2)
    how = distances[0].how.replace("all clips at once", f"mean of {groups} groups of {size} clips in their order")
    return Distance(statistics.fmean(own.value for own in distances), how)
