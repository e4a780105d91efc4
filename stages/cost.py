"""Every stage that brings the reports nearer says what it took: runs/cost/<stage>.json. Training stages say it run by run."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cola_world import cost
from cola_world.files import renamed, scratch
from cola_world.lifeline import die_with_parent

COSTS = Path("runs/cost")


@contextmanager
def counted(stage: str, out: Path | None = None) -> Iterator[None]:
    """A stage's work, which ends when the process that started it does; what a person did wrong is one line.

    Attempts that were killed or failed are counted with the one that succeeds, in `out` where that is given.
    """
    die_with_parent()
    attempts = scratch() / "stages" / stage / "attempts"
    try:
        with cost.Attempt(attempts, run=stage):
            yield
    except ValueError as error:
        sys.exit(f"{stage}: {error}")
    with renamed(out or COSTS / f"{stage}.json") as partial:
        partial.write_text(json.dumps(cost.total(attempts), indent=1, sort_keys=True) + "\n")
    cost.settle(attempts)
