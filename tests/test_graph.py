"""The whole graph at smoke scale, in a copy of the repository: what runs, what does not, and what a SIGKILL leaves."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import IDENTITY, copy_repository

PAGES = [path.stem for path in sorted(Path("notebooks").glob("*.ipynb"))]
REPORTS = {"results", "index", *(f"page@{page}" for page in PAGES)}
# What goes on from the warm-up's end besides e2e, and what is measured of it.
AFTER_FORK = {"scaling", "evaluate", *(f"probe@{run}" for run in ("e2e", "e2e_long", "depth_6", "depth_12", "depth_20"))}
pytestmark = pytest.mark.graph


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


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("graph").resolve() / "copy"
    root.mkdir()
    copy_repository(root)
    made = Workspace(root)
    made.set(r"^scale: \w+", "scale: smoke")
    made.set(r"^seeds: .*", "seeds: [1, 2]")
    made.call("git", *IDENTITY, "commit", "-qam", "Smoke scale")
    return made


@pytest.fixture(scope="module")
def finished(workspace):
    """The output of the first, undisturbed run."""
    start = time.monotonic()
    output = workspace.repro()
    print(f"smoke graph: {time.monotonic() - start:.0f} s")
    return output


def results(workspace) -> list[dict[str, str]]:
    with (workspace.root / "reports/results.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (r"^warmup_steps: \d+", "warmup_stpes: 8000", r"warmup_stpes.*warmup_steps"),
        (r"^warmup_steps: \d+", "warmup_steps: 8k", r"warmup_steps.*8k"),
        (r"^warmup_steps: \d+", "warmup_steps: 0", r"warmup_steps.*0.*1"),
        (r"^scale: \w+", "scale: cpuu", r"scale.*cpuu.*cpu"),
        (r"^  - 2000$", "  - 900000", r"warmup_sweep.*900000.*8000"),
        (r"snapshots: \[8000\]", "snapshots: [31000]", r"snapshots.*31000.*30000"),
    ],
    ids=["unknown key", "wrong type", "zero", "unknown scale", "fork past the budget", "snapshot past the budget"],
)
def test_bad_dials_are_refused_before_any_work(workspace, old, new, message):
    good = workspace.params.read_text()
    workspace.set(old, new)
    refused = workspace.call(sys.executable, "-m", "stages.plan")
    workspace.params.write_text(good)
    assert refused.returncode != 0
    assert re.search(message, refused.stdout), refused.stdout
    assert "Traceback" not in refused.stdout
    assert not (workspace.root / "runs/plan/e2e.json").exists() or executed(refused.stdout) == set()


def test_dvc_refuses_a_bad_dial_before_any_work(workspace):
    good = workspace.params.read_text()
    workspace.set(r"^warmup_sweep:.*\n(  - \d+.*\n)+", "warmup_sweep: 4000\n")
    refused = workspace.call(sys.executable, "-m", "stages.repro")
    workspace.params.write_text(good)
    assert refused.returncode != 0
    assert not executed(refused.stdout)
    assert re.search(r"params.yaml: warmup_sweep.*4000.*list", refused.stdout), refused.stdout


def test_graph_makes_every_report(workspace, finished):
    made = [f"reports/{page}.html" for page in PAGES]
    made += [f"reports/figures/{page}.{kind}" for page in PAGES for kind in ("png", "svg")]
    made += ["reports/index.html", "reports/README.md", "reports/results.csv", "reports/costs.csv"]
    assert not [name for name in made if not (workspace.root / name).stat().st_size]
    assert executed(finished) >= REPORTS
    params = yaml.safe_load(workspace.params.read_text())
    wanted = {*params["runs"], *(f"e2e_from_{steps}" for steps in params["warmup_sweep"])}
    assert {row["run"] for row in results(workspace)} == wanted
    assert {row["scale"] for row in results(workspace)} == {"smoke"}
    assert re.search(r"total time .*, peak memory \d", finished)


def test_second_call_does_nothing(workspace, finished):
    assert not executed(workspace.repro())


def test_killed_run_ends_with_the_same_results(workspace, finished):
    undisturbed = (workspace.root / "reports/results.csv").read_bytes()
    forget(workspace, "naive_random")
    kill_during(workspace, "naive_random")
    workspace.repro()
    assert (workspace.root / "reports/results.csv").read_bytes() == undisturbed


def forget(workspace, run: str) -> None:
    """Remove a run, everything that could bring it back without training, and the table made of it."""
    for path in (f"runs/{run}", ".cola", ".dvc/cache/runs", "reports/results.csv"):
        subprocess.run(["rm", "-rf", path], cwd=workspace.root, check=True)
    lock = workspace.root / "stages/e2e/dvc.lock"
    content = yaml.safe_load(lock.read_text())
    del content["stages"][run]
    lock.write_text(yaml.safe_dump(content))


def kill_during(workspace, run: str) -> None:
    """SIGKILL the process that started the launcher, as soon as the run keeps a state; nothing may survive it."""
    launcher = f"import subprocess; subprocess.call([{sys.executable!r}, '-m', 'stages.repro'])"
    make = subprocess.Popen([sys.executable, "-c", launcher], cwd=workspace.root, env=workspace.environment)
    wait_until(lambda: any((workspace.root / ".cola").rglob("*.safetensors")), 120, f"{run} began")
    make.send_signal(signal.SIGKILL)
    make.wait()
    wait_until(lambda: not workspace.processes(), 60, "all processes ended")
    assert not (workspace.root / "reports/results.csv").exists(), "it was over before it was killed"


def wait_until(holds, seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def test_turning_the_headline_dial_reruns_what_follows_the_fork(workspace, finished):
    """Last of all, because it changes the copy."""
    steps = yaml.safe_load(workspace.params.read_text())["warmup_sweep"][-1]
    result = workspace.call("dvc", "exp", "run", "-S", f"warmup_steps={steps}")
    assert result.returncode == 0, result.stdout[-4000:]
    assert executed(result.stdout) == {"plan", "e2e", *AFTER_FORK, *REPORTS}
    assert min(int(row["snapshot"]) for row in results(workspace) if row["run"] == "e2e") == steps
    assert re.search(rf"\b{steps:,}\b|\b{steps}\b", (workspace.root / "reports/index.html").read_text())
