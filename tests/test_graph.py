"""The whole graph at smoke scale: what runs, what does not, and what a SIGKILL leaves."""

import re
import signal
import subprocess
import sys
import time

import pytest
import yaml
from graph import PAGES, REPORTS, Workspace, begun, executed, finished, results

pytestmark = pytest.mark.graph


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Workspace:
    """A copy in which nothing has run."""
    return begun(tmp_path_factory.mktemp("fresh").resolve() / "copy")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    """A copy in which everything has run."""
    return finished(tmp_path_factory)


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
def test_bad_dials_are_refused_before_any_work(fresh, old, new, message):
    good = fresh.params.read_text()
    fresh.set(old, new)
    refused = fresh.call(sys.executable, "-m", "stages.plan")
    fresh.params.write_text(good)
    assert refused.returncode != 0
    assert re.search(message, refused.stdout), refused.stdout
    assert "Traceback" not in refused.stdout
    assert not (fresh.root / "runs/plan/e2e.json").exists() or executed(refused.stdout) == set()


def test_dvc_refuses_a_bad_dial_before_any_work(fresh):
    good = fresh.params.read_text()
    fresh.set(r"^warmup_sweep:.*\n(  - \d+.*\n)+", "warmup_sweep: 4000\n")
    refused = fresh.call(sys.executable, "-m", "stages.repro")
    fresh.params.write_text(good)
    assert refused.returncode != 0
    assert not executed(refused.stdout)
    assert re.search(r"params.yaml: warmup_sweep.*4000.*list", refused.stdout), refused.stdout


def test_graph_makes_every_report(workspace):
    made = [f"reports/{page}.html" for page in PAGES]
    made += [f"reports/figures/{page}.{kind}" for page in PAGES for kind in ("png", "svg")]
    made += ["reports/index.html", "reports/placebos.html", "reports/README.md", "reports/results.csv", "reports/costs.csv"]
    assert not [name for name in made if not (workspace.root / name).stat().st_size]
    assert executed(workspace.output) >= REPORTS
    params = yaml.safe_load(workspace.params.read_text())
    wanted = {*params["runs"], *(f"e2e_from_{steps}" for steps in params["warmup_sweep"])}
    assert {row["run"] for row in results(workspace)} == wanted | {"pixels", "supervised_idm"}
    assert {row["scale"] for row in results(workspace)} == {"smoke"}
    assert re.search(r"total time .*, peak memory \d", workspace.output)


def test_second_call_does_nothing(workspace):
    assert not executed(workspace.repro())


def test_killed_run_ends_with_the_same_results(workspace):
    undisturbed = (workspace.root / "reports/results.csv").read_bytes()
    forget(workspace, "naive_random")
    kill_during(workspace, "naive_random")
    workspace.repro()
    assert (workspace.root / "reports/results.csv").read_bytes() == undisturbed


def forget(workspace, run: str) -> None:
    """Remove a run, everything that could bring it back without training, and the table made of it."""
    for path in (f"runs/{run}", ".cola", ".dvc/cache/runs", "reports/results.csv"):
        subprocess.run(["rm", "-rf", path], cwd=workspace.root, check=True)
    lock = workspace.root / "pipelines/training/dvc.lock"
    content = yaml.safe_load(lock.read_text())
    del content["stages"][f"from_world_model@{run}"]
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
