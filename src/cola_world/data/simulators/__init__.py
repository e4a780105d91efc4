"""One file an environment; each has `record(rng, frames, size, fps, filming) -> Episode`.

An episode is a pure function of its generator: it does not depend on what the process rendered before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np

ENVIRONMENTS = {
    "bodies": "bodies",
    "metaworld": "sawyer",
    "metaworld_corner": "sawyer_corner",
    "fetch": "fetch",
    "pusher": "pusher",
    "two_arms": "two_arms",
    "adroit": "hand",
    "kitchen": "kitchen",
}


@dataclass(frozen=True)
class Filming:
    """How the episodes of a corpus are filmed.

    `variety` in [0, 1]: how much colours, light and camera differ between episodes. `reach`: how far a camera looks aside,
    in widths of the picture, 0 for one on a tripod; `speed`: how far it turns between two frames, in the same unit.
    """

    variety: float = 1.0
    reach: float = 0.0
    speed: float = 0.13


@dataclass(frozen=True)
class Episode:
    """One recorded episode. `actions[i]` is what happens between `frames[i]` and `frames[i + 1]`; `names` are those of its values."""

    frames: np.ndarray  # uint8 [F, H, W, 3], RGB
    actions: np.ndarray  # float32 [F, A], each in [-1, 1]
    task: str
    names: tuple[str, ...]


def check(environment: str) -> None:
    if environment not in ENVIRONMENTS:
        raise ValueError(f"simulate: environment {environment!r} is not known; take one of {', '.join(sorted(ENVIRONMENTS))}")


def recorder(environment: str) -> Callable:
    """The environment's `record` function. Imports only that simulator."""
    check(environment)
    return import_module(f"{__name__}.{ENVIRONMENTS[environment]}").record
