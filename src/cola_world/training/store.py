"""Where runs live while they train and after: one folder a (config, inputs, code, seed), named by its fingerprint.

Kept outside the outputs that a pipeline may delete, so that a killed run goes on and a finished one is never repeated.
"""

import csv
import fcntl
import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cola_world
from cola_world.plan import RunPlan
from cola_world.training import checkpoint

CODE = ("models", "training", *(f"evaluation/{name}.py" for name in ("codebook", "health", "posterior")), "data/clips.py")
# What a run is called, who else runs, and how many at a time do not change its result.
IRRELEVANT = {"run", "seeds", "workers", "launch"}


def scratch() -> Path:
    """Folder of all runs: $COLA_SCRATCH, else `.cola` where the program was started."""
    return Path(os.environ.get("COLA_SCRATCH", ".cola")).absolute()


def run_path(plan: RunPlan, seed: int, inputs: dict[str, Path]) -> Path:
    """Folder of a run and seed, named by all that decides its result."""
    return scratch() / "runs" / fingerprint(plan, seed, inputs)


def code_hash() -> str:
    root = Path(cola_world.__file__).parent
    files = sorted(f for name in CODE for f in ([root / name] if name.endswith(".py") else (root / name).glob("*.py")))
    return hashlib.sha256("".join(checkpoint.file_hash(f) for f in files).encode()).hexdigest()


def fingerprint(plan: RunPlan, seed: int, inputs: dict[str, Path]) -> str:
    """Hash of all that decides the run's result."""
    content = {
        "plan": plan.model_dump(exclude=IRRELEVANT),
        "seed": seed,
        "inputs": {name: checkpoint.file_hash(path) for name, path in inputs.items()},
        "code": code_hash(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; a second process gets one clear error."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ValueError(f"run: {folder} is in use by process {file.read()}; wait for it or stop it") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


class RunFolder:
    """Files of one run and seed."""

    def __init__(self, path: Path):
        self.path = path
        self.state, self.before, self.done = path / "state.safetensors", path / "before.safetensors", path / "done.json"

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
        write_atomically(self.metrics, text.getvalue())

    def finish(self, cost: dict[str, Any]) -> None:
        write_atomically(self.done, json.dumps(cost, indent=1, sort_keys=True) + "\n")
        for state in (self.state, self.before):
            state.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(text)
    os.replace(partial, path)
