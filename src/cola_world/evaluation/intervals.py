"""Bootstrap intervals over clips: how far a value moves when other clips of the same kind had been drawn.

Shape letters: N clips, R resamples.
"""

import torch
from torch import Tensor

RESAMPLES, SEED, LEVEL = 1000, 0, 0.95


def resampled(clips: int, resamples: int = RESAMPLES) -> Tensor:
    """How often each clip is drawn, with replacement, in each resample: [R, N], rows adding up to N; always the same ones."""
    drawn_RN = torch.randint(clips, (resamples, clips), generator=torch.Generator().manual_seed(SEED))
    return torch.zeros(drawn_RN.shape, dtype=torch.float64).scatter_add_(1, drawn_RN, torch.ones(drawn_RN.shape, dtype=torch.float64))


def interval(values_R: Tensor) -> tuple[float, float]:
    """The middle 95 % of a value's resamples."""
    tail = (1 - LEVEL) / 2
    low, high = values_R.double().quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high


def of_mean(values_N: Tensor) -> tuple[float, float]:
    """Interval of the mean of one value a clip."""
    return interval(resampled(len(values_N)) @ values_N.double() / len(values_N))
