"""What a change makes run again, once everything has run."""

import json
import re

import pytest
import yaml
from graph import REPORTS, Workspace, executed, finished, results

# What goes on from the warm-up's end, and what is measured of it.
DEPTHS = ("depth_6", "depth_12", "depth_20")
AFTER_FORK = {f"from_both@{run}" for run in ("e2e", "e2e_long", "frozen_lam", *DEPTHS)}
AFTER_FORK |= {f"probe@{run}" for run in ("e2e", "e2e_long", *DEPTHS)} | {"evaluate@e2e_long", "evaluate@frozen_lam"}
pytestmark = pytest.mark.graph


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    """A copy in which everything has run."""
    return finished(tmp_path_factory)


def outdated(workspace: Workspace) -> set[str]:
    """Names of the stages that DVC would run again."""
    status = workspace.call("dvc", "status", "--json")
    assert status.returncode == 0, status.stdout[-4000:]
    names = {name.rpartition(":")[2].partition("@")[0] for name in json.loads(status.stdout)}
    return names - {"weights"}  # whose stage no other needs


def test_a_comment_runs_the_plan_and_a_formula_what_it_is_part_of(workspace):
    """Seen by DVC itself; tests/stages/test_plan.py has more kinds of changes."""
    path = workspace.root / "src/cola_world/evaluation/probing.py"
    good = path.read_text()
    found, touched = [], {"probe", "results"}
    same, other = good.replace("LOW, HIGH = 0.01", "LOW, HIGH  =  0.01"), good.replace("LOW, HIGH = 0.01", "LOW, HIGH = 0.02")
    for text in (same, other, good):
        path.write_text(text)
        found.append(outdated(workspace))
        assert workspace.call("dvc", "repro", "pipelines/plan/dvc.yaml").returncode == 0
        found.append(outdated(workspace))
    assert found == [{"plan"}, set(), {"plan"}, touched, {"plan", *touched}, set()]


def test_turning_the_headline_dial_reruns_what_follows_the_fork(workspace):
    steps = yaml.safe_load(workspace.params.read_text())["warmup_sweep"][-1]
    result = workspace.call("dvc", "exp", "run", "-S", f"warmup_steps={steps}")
    assert result.returncode == 0, result.stdout[-4000:]
    assert executed(result.stdout) == {"plan", *AFTER_FORK, *REPORTS}
    assert min(int(row["snapshot"]) for row in results(workspace) if row["run"] == "e2e") == steps
    assert re.search(rf"\b{steps:,}\b|\b{steps}\b", (workspace.root / "reports/index.html").read_text())
