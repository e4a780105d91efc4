"""Bootstrap intervals over clips: how far a value would move with other clips of the same kind.

Shape letters: N clips, R resamples, D features, W resamples computed at once.
"""

import torch
from torch import Tensor

LEVEL, SEED = 0.95, 0
RESAMPLES = 1000
# Each resample of a distance decomposes two covariances, where one of a mean is a product.
DISTANCE_RESAMPLES = 200
AT_ONCE = 50


def resampled(clips: int, resamples: int = RESAMPLES) -> Tensor:
    """Count how often each clip is drawn, with replacement, in each resample: [R, N], rows add up to N. Always the
    same.
    """
    drawn_RN = torch.randint(clips, (resamples, clips), generator=torch.Generator().manual_seed(SEED))
    return torch.zeros(drawn_RN.shape, dtype=torch.float64).scatter_add_(1, drawn_RN, torch.ones(drawn_RN.shape, dtype=torch.float64))


def interval(values_R: Tensor) -> tuple[float, float]:
    """Return the middle 95 % of the resamples of a value."""
    tail = (1 - LEVEL) / 2
    low, high = values_R.double().quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high


def of_mean(values_N: Tensor) -> tuple[float, float]:
    """Return the interval of the mean of one value per clip."""
    return interval(resampled(len(values_N)) @ values_N.double() / len(values_N))


def of_distance(generated_ND: Tensor, real_ND: Tensor, value: float) -> tuple[float, float]:
    """Return the interval of the Fréchet distance `value`. Generated and real clips are drawn in pairs.

    not in paper: because a clip drawn twice takes rank from a covariance, which enlarges the distance of every
    resample, the resamples are shifted to have the measured value as their mean, and none falls below zero.
    """
    counts_RN = resampled(len(real_ND), DISTANCE_RESAMPLES)
    values_R = torch.cat([distances(generated_ND, real_ND, counts_WN) for counts_WN in counts_RN.split(AT_ONCE)])
    low, high = interval(values_R - values_R.mean() + value)
    return max(0.0, low), max(0.0, high)


def distances(generated_ND: Tensor, real_ND: Tensor, counts_WN: Tensor) -> Tensor:
    """Return the Fréchet distance of each resample [W], with covariances as in `frechet_distance`."""
    (a_WD, a_WDD), (b_WD, b_WDD) = (weighted(features_ND.double(), counts_WN) for features_ND in (generated_ND, real_ND))
    values_WD, vectors_WDD = torch.linalg.eigh(a_WDD)
    root_WDD = vectors_WDD * values_WD.clamp_min(0).sqrt()[:, None] @ vectors_WDD.mT
    cross_W = torch.linalg.eigvalsh(root_WDD @ b_WDD @ root_WDD).clamp_min(0).sqrt().sum(-1)
    traces_W = (a_WDD + b_WDD).diagonal(dim1=1, dim2=2).sum(-1)
    return ((a_WD - b_WD).square().sum(-1) + traces_W - 2 * cross_W).clamp_min(0)


def weighted(features_ND: Tensor, counts_WN: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean [W, D] and covariance [W, D, D], with 1 / (N - 1), of features whose clips count as often as drawn."""
    clips = len(features_ND)
    mean_WD = counts_WN @ features_ND / clips
    centred_WND = (features_ND - mean_WD[:, None]) * counts_WN[..., None].sqrt()
    return mean_WD, centred_WND.mT @ centred_WND / (clips - 1)
