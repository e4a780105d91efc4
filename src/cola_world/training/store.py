"""The store of runs: one folder per (settings, inputs, code, seed), named by its fingerprint.

It lies outside the outputs that a pipeline may delete, so that a killed run resumes and a finished one is never
repeated.
"""

import csv
import io
from functools import cache
from pathlib import Path
from typing import Any

from cola_world.running import cost
from cola_world.running.code import code_of
from cola_world.running.files import fingerprint, renamed, scratch, write_json
from cola_world.running.folders import Folders
from cola_world.training.plan import RunPlan

# The name of a run, the runs beside it and their number do not change its result.
IRRELEVANT = {"run", "seeds", "workers", "launch", "public"}


def run_path(plan: RunPlan, seed: int, folders: Folders) -> Path:
    """Return the folder of a run and seed, named by all that decides its result: settings, caches, parents and code."""
    return scratch() / "runs" / fingerprint(content(plan, seed), *inputs(plan, seed, folders), training_code())


def content(plan: RunPlan, seed: int) -> dict[str, Any]:
    """Return the part of the plan that decides the result. Runs that agree in it read the same files and are the
    same.
    """
    return {"plan": plan.model_dump(exclude=IRRELEVANT), "seed": seed}


def inputs(plan: RunPlan, seed: int, folders: Folders) -> list[Path]:
    """Return the files that a run reads: the cards of both caches, and the snapshots of its parents."""
    files = [folders.clips / "card.json", folders.latents / "card.json", *(p.path(folders.runs, seed) for p in plan.parents)]
    for file in files:
        if not file.is_file():
            raise ValueError(f"{file} does not exist; run the stage that writes it first")
    return files


@cache
def training_code() -> dict[str, str]:
    """Return fingerprints of the code that trains a run."""
    return code_of(Path(__file__).with_name("run.py"))


class RunFolder:
    """The files of one run and seed."""

    def __init__(self, path: Path):
        self.path = path
        self.state, self.previous, self.done = path / "state.safetensors", path / "before.safetensors", path / "done.json"
        self.attempts = path / "attempts"

    def snapshot(self, step: int) -> Path:
        return self.path / "snapshots" / f"{step}.safetensors"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    def write_metrics(self, rows: list[tuple[int, str, float]]) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("step", "metric", "value"))
        writer.writerows((step, metric, f"{value:.6g}") for step, metric, value in rows)
        with renamed(self.metrics) as partial:
            partial.write_text(text.getvalue())

    def finish(self, about: dict[str, Any]) -> None:
        """Write `about` and the cost of all attempts, and remove the states."""
        write_json(self.done, cost.total(self.attempts) | about)
        cost.settle(self.attempts)
        for state in (self.state, self.previous):
            state.unlink(missing_ok=True)
