"""The Fréchet distance between two sets of features, each taken as Gaussian.

Shape letters: N clips, D features.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """Mean, covariance with 1 / (N - 1), and the rank of the covariance."""

    mean_D: Tensor
    covariance_DD: Tensor
    rank: int


def moments(features_ND: Tensor) -> Moments:
    """Return the moments. Raises ValueError in one line for fewer than two clips, or features that are not finite."""
    if len(features_ND) < 2:
        raise ValueError(f"Fréchet distance: {len(features_ND)} clips were given; a covariance needs at least two")
    if not features_ND.isfinite().all():
        raise ValueError("Fréchet distance: some features are infinite or no numbers; are the network's weights the right ones?")
    features_ND = features_ND.double()
    covariance = torch.atleast_2d(features_ND.T.cov())
    return Moments(features_ND.mean(0), covariance, int(torch.linalg.matrix_rank(covariance, hermitian=True)))


def root(covariance_DD: Tensor) -> Tensor:
    """Return the symmetric square root. Eigenvalues that rounding made negative count as zero."""
    values_D, vectors_DD = torch.linalg.eigh(covariance_DD)
    return vectors_DD * values_D.clamp_min(0).sqrt() @ vectors_DD.T


def frechet_distance(a: Moments, b: Moments) -> float:
    """Return |mean difference|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2), never negative.

    The last trace is the sum of the singular values of A^1/2 B^1/2. For a rank-deficient covariance it is exact to
    twice the digits of the square roots of the product's eigenvalues.
    """
    cross = torch.linalg.svdvals(root(a.covariance_DD) @ root(b.covariance_DD)).sum()
    spread = a.covariance_DD.trace() + b.covariance_DD.trace() - 2 * cross
    return max(0.0, ((a.mean_D - b.mean_D).square().sum() + spread).item())
