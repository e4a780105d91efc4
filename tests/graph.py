"""The graph at smoke scale in a copy of the repository, run once for all tests and workers that need it."""

from __future__ import annotations

import csv
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import IDENTITY, ROOT, copy_repository

PAGES = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
REPORTS = {"results", "index", *(f"page@{page}" for page in PAGES)}


class Workspace:
    """A copy of the repository with the smoke dials and a path to this environment's programs."""

    def __init__(self, root: Path):
        self.root = root
        self.params = root / "params.yaml"
        binaries = Path(sys.executable).parent
        self.environment = os.environ | {
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(root / "src"),
            "SHELL": "/bin/bash",
            "OMP_NUM_THREADS": "1",
        }

    def set(self, old: str, new: str) -> None:
        text, count = re.subn(old, new, self.params.read_text(), count=1, flags=re.MULTILINE)
        assert count, f"params.yaml has no {old}"
        self.params.write_text(text)

    def call(self, *words: str) -> subprocess.CompletedProcess:
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        return subprocess.run(words, cwd=self.root, env=self.environment, text=True, **pipe)

    def repro(self) -> str:
        result = self.call(sys.executable, "-m", "stages.repro")
        assert result.returncode == 0, result.stdout[-4000:]
        return result.stdout

    def processes(self) -> list[str]:
        """Command lines of all processes that work in this copy."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if (path / "cwd").readlink() == self.root:
                    found.append((path / "cmdline").read_text().replace("\0", " "))
            except OSError:  # ended, or somebody else's
                continue
        return found


def executed(output: str) -> set[str]:
    """Names of the stages that DVC ran, or restored from an earlier identical run."""
    names = re.findall(r"^Running stage '(.+)'|^Stage '(.+)' is cached", output, re.MULTILINE)
    return {(run or restored).rpartition(":")[2] for run, restored in names}


def begun(root: Path) -> Workspace:
    """A fresh copy with the smoke dials and two seeds."""
    root.mkdir(parents=True)
    copy_repository(root)
    made = Workspace(root)
    made.set(r"^scale: \w+", "scale: smoke")
    made.set(r"^seeds: .*", "seeds: [1, 2]")
    made.call("git", *IDENTITY, "commit", "-qam", "Smoke scale")
    return made


def finished(factory: pytest.TempPathFactory) -> Workspace:
    """A copy of its own of the workspace in which everything ran; whoever asks first runs it, and the others wait.

    `output` is what that run printed.
    """
    shared = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.getbasetemp()
    root, output = shared / "graph" / "finished", shared / "graph" / "output.txt"
    root.parent.mkdir(exist_ok=True)
    with (root.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not output.exists():
            shutil.rmtree(root, ignore_errors=True)
            start = time.monotonic()
            said = begun(root).repro()
            print(f"smoke graph: {time.monotonic() - start:.0f} s")
            output.write_text(said)
    own = factory.mktemp("graph").resolve() / "copy"
    shutil.copytree(root, own, symlinks=True)
    made = Workspace(own)
    made.output = output.read_text()
    return made


def results(workspace: Workspace) -> list[dict[str, str]]:
    with (workspace.root / "reports/results.csv").open() as file:
        return list(csv.DictReader(file))
