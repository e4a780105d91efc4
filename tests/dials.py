"""Dials of a workspace: how a test turns them, and what they resolve to."""

from pathlib import Path

import yaml
from conftest import ROOT

from cola_world.weights.public import read_table
from cola_world.workspace import plan
from cola_world.workspace.profile import load


def edit(workspace: Path, key: str, value: object, file: str = "params.yaml") -> None:
    path = workspace / file
    content = yaml.safe_load(path.read_text())
    *parents, last = key.split(".")
    target = content
    for name in parents:
        target = target[name]
    target[last] = value
    path.write_text(yaml.safe_dump(content))


def resolved(workspace: Path) -> dict:
    """Every plan below runs/plan, by its file stem."""
    return plan.resolve(*load(workspace), read_table(ROOT / "data" / "weights.yaml"))


def add_runs(workspace: Path, rows: dict) -> None:
    runs = yaml.safe_load((workspace / "params.yaml").read_text())["runs"]
    edit(workspace, "runs", runs | rows)
