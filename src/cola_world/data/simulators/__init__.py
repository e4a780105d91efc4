"""One file an environment; each has `record(rng, frames, size, fps, filming) -> Episode`.

An episode is a pure function of its generator: it does not depend on what the process rendered before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

ENVIRONMENTS = {"bodies": "bodies", "metaworld": "sawyer", "fetch": "fetch", "adroit": "hand"}


@dataclass(frozen=True)
class Filming:
    """How the episodes of a corpus are filmed.

    `variety` in [0, 1]: how much colours, light and camera differ between episodes. `reach`: how far a camera looks aside,
    in widths of the picture, 0 for one on a tripod; `speed`: how far it turns between two frames, in the same unit.
    """

    variety: float = 1.0
    reach: float = 0.0
    speed: float = 0.13


def check(environment: str) -> None:
    if environment not in ENVIRONMENTS:
        raise ValueError(f"simulate: environment {environment!r} is not known; take one of {', '.join(sorted(ENVIRONMENTS))}")


def recorder(environment: str) -> Callable:
    """The environment's `record` function. Imports only that simulator."""
    check(environment)
    return import_module(f"{__name__}.{ENVIRONMENTS[environment]}").record
