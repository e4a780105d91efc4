"""What every stage does: read its plan, end with the process that started it, record its cost, report errors in one
line.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cola_world.running import cost
from cola_world.running.files import scratch, write_json
from cola_world.running.folders import Folders
from cola_world.running.process import die_with_parent

Plan = TypeVar("Plan", bound=BaseModel)
HERE = Folders()
COSTS = HERE.runs / "cost"


def argument(what: str) -> str:
    """Return the single argument of the command line, described by `what`."""
    stage = Path(sys.argv[0]).stem
    if len(sys.argv) != 2:
        sys.exit(f"{stage}: one {what} is needed: python -m stages.{stage} <{what}>")
    return sys.argv[1]


@contextmanager
def working(stage: str) -> Iterator[None]:
    """Run a stage's work, which ends when the process that started it does. A user's mistake is one line."""
    die_with_parent()
    try:
        yield
    except ValueError as error:
        sys.exit(f"{stage}: {error}")


@contextmanager
def counted(stage: str, out: Path | None = None) -> Iterator[None]:
    """`working`, and record the cost in runs/cost/<stage>.json or in `out`.

    Killed and failed attempts count with the one that succeeds. Training records its cost run by run instead.
    """
    attempts = scratch() / "stages" / stage / "attempts"
    with working(stage), cost.Attempt(attempts, run=stage):
        yield
    write_json(out or COSTS / f"{stage}.json", cost.total(attempts))
    cost.settle(attempts)


def read_plan(kind: type[Plan], name: str) -> Plan:
    """Read the plan of a stage. Raises ValueError that names the file, the field and the wrong value."""
    path = HERE.plans / f"{name}.json"
    try:
        return kind.model_validate_json(text_of(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(f"{path}: {where}: {first['msg']} (got {first['input']!r})") from None


def read_arguments(name: str) -> dict[str, Any]:
    """Read a plan that is the named arguments of a call."""
    return json.loads(text_of(HERE.plans / f"{name}.json"))


def text_of(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such plan; run `dvc repro plan` first") from None
