"""One file an environment; each has `record(rng, frames, size, fps, variety) -> Episode`.

An episode is a pure function of its generator: it does not depend on what the process rendered before.
"""

from collections.abc import Callable
from importlib import import_module

ENVIRONMENTS = {"bodies": "bodies", "metaworld": "sawyer", "fetch": "fetch", "adroit": "hand"}


def check(environment: str) -> None:
    if environment not in ENVIRONMENTS:
        raise ValueError(f"simulate: environment {environment!r} is not known; take one of {', '.join(sorted(ENVIRONMENTS))}")


def recorder(environment: str) -> Callable:
    """The environment's `record` function. Imports only that simulator."""
    check(environment)
    return import_module(f"{__name__}.{ENVIRONMENTS[environment]}").record
