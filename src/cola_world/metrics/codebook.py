"""Codebook health: utilisation, maximum usage and entropy of the codes of a set of clips (paper Figures 2, 3, 5).

The paper does not define them. Here they are taken over a fixed held-out set: pooled over both tokens (K codes), for
each token (`_token0` …), and for the pair (`_joint`, K^2 codes).
Shape letters: N actions, M tokens of an action, K codes.
"""

import math

import torch
from torch import Tensor


def codebook_metrics(indices_NM: Tensor, codes: int) -> dict[str, float]:
    """Map code indices in [0, codes) to a flat dict of metrics. Entropy is in nats, all others are in [0, 1]."""
    if indices_NM.numel() == 0:
        raise ValueError("codebook metrics: no code indices were given; at least one action is needed")
    views = {"": (indices_NM.flatten(), codes)}
    for token in range(indices_NM.shape[1]):
        views[f"_token{token}"] = (indices_NM[:, token], codes)
    weights = codes ** torch.arange(indices_NM.shape[1], device=indices_NM.device)
    views["_joint"] = ((indices_NM * weights).sum(1), codes ** indices_NM.shape[1])
    # N actions cannot show more than N of the K^M pairs, nor more entropy than theirs.
    limits = {"_joint": min(codes ** indices_NM.shape[1], len(indices_NM))}
    metrics = {}
    for suffix, (indices, count) in views.items():
        for name, value in usage(torch.bincount(indices, minlength=count), limits.get(suffix, count)).items():
            metrics[f"codebook/{name}{suffix}"] = value
    # In nats it would tell of the number of actions too; what is kept is its share of what so many can show.
    del metrics["codebook/entropy_joint"]
    return metrics


def usage(histogram_K: Tensor, limit: int) -> dict[str, float]:
    """Return the metrics of one histogram of code counts, utilisation and normalised entropy as shares of what `limit`
    codes would reach.
    """
    p = histogram_K.double() / histogram_K.sum()
    entropy = -torch.special.xlogy(p, p).sum().item()
    return {
        "utilization": (histogram_K > 0).sum().item() / limit,
        "max_usage": p.max().item(),
        "entropy": entropy + 0.0,
        "entropy_normalized": entropy / math.log(limit) + 0.0 if limit > 1 else 0.0,
    }
