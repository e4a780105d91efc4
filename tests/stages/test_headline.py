"""Figures 2 and 3 in pieces: what is called, in the order of the graph, and what a piece leaves to the next."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from caches import make
from conftest import copy_repository

from stages import headline
from stages.headline import Step, go_on, headline_dials, missing, steps, workspace

RUNS = ("pretrain", "lam", "fdm_without_actions", "warmup", "e2e", "naive_random", "naive_pretrained_idm", "both_random")
TRAINING = [f"train {run}" for run in RUNS]
FORKS = ["train e2e_from_2000", "train e2e_from_4000"]
CORPORA = ("bodies", "sawyer", "fetch", "sawyer_corner", "pusher", "two_arms", "adroit")
DATA = [*(f"simulate {corpus}" for corpus in CORPORA), "manifest", "clips", "vae", "latents"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A copy of the repository, with a workspace at smoke scale in it."""
    copy_repository(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def dials(**changes) -> dict:
    return headline_dials("smoke", [1]) | changes


def touch(*names: str) -> None:
    for name in names:
        path = Path("work", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


def left(files) -> list[str]:
    return [str(step) for step in missing(steps(files, dials()), Path("work"))]


def test_all_stages_are_called_in_the_graphs_order(here):
    files = workspace(Path("work"), dials())
    assert left(files) == DATA + TRAINING + FORKS
    parents = {name: [parent["run"] for parent in content.get("parents", [])] for name, content in files.items()}
    order = [words.split()[-1] for words in TRAINING + FORKS]
    assert all(order.index(parent) < order.index(run) for run in order for parent in parents[run])


@pytest.mark.slow
def test_what_is_finished_or_was_brought_is_not_made_again(here):
    files = workspace(Path("work"), dials())
    touch("data/clips/card.json")
    assert left(files)[:3] == ["vae", "latents", "train pretrain"]
    touch("data/latents/card.json")
    assert left(files)[0] == "train pretrain"
    touch("runs/pretrain/cost.json", "runs/e2e/cost.json")
    assert "train pretrain" not in left(files) and "train e2e" not in left(files) and "train lam" in left(files)


def test_what_was_begun_and_not_ended_is_made_again(here):
    """A stage that is killed may leave a part of its outputs."""
    files = workspace(Path("work"), dials())
    touch("data/clips/card.json", ".cola/headline/clips.begun")
    assert "clips" in left(files)


def test_a_workspace_keeps_the_dials_that_it_was_begun_with(here):
    workspace(Path("work"), dials())
    workspace(Path("work"), dials())
    with pytest.raises(ValueError, match="work was begun with other dials; take another --root"):
        workspace(Path("work"), dials(seeds=[2]))


def test_reports_lie_beside_those_of_the_repository(here):
    workspace(Path("work"), dials())
    (Path("work") / "reports" / "page.html").write_text("here")
    assert (here / "reports" / "smoke" / "page.html").read_text() == "here"


def calls(monkeypatch, outcome) -> list[str]:
    """Stages that `go_on` calls; `outcome(name)` is their exit status."""
    made: list[str] = []

    def call(step: Step, root: Path, end: float) -> int:
        made.append(str(step))
        return outcome(made[-1])

    monkeypatch.setattr(headline, "call", call)
    return made


def test_a_stage_that_fails_ends_it(here, monkeypatch):
    order = steps(workspace(Path("work"), dials()), dials())
    made = calls(monkeypatch, lambda name: int(name == "clips"))
    with pytest.raises(ValueError, match="headline: clips failed"):
        go_on(Path("work"), order, time.time() + 100, reports=False)
    assert made == DATA[: DATA.index("clips") + 1]


def test_nothing_is_begun_once_the_time_is_up(here, monkeypatch):
    order, now = steps(workspace(Path("work"), dials()), dials()), [0.0]
    monkeypatch.setattr(headline.time, "time", lambda: now[0])
    made = calls(monkeypatch, lambda name: now.__setitem__(0, now[0] + 10) or int(now[0] > 25))
    assert "the time is up; 19 of 21 steps are left, simulate fetch first" in go_on(Path("work"), order, 25, reports=False)
    assert made == DATA[:3]
    assert go_on(Path("work"), order, 25, reports=False).startswith("headline: the time is up; 21 of 21") and len(made) == 3


@pytest.mark.graph
def test_a_run_goes_on_in_the_next_piece(tmp_path):
    """Of the smallest table: pieces too short for a run, but for a step of it; then all the rest at once."""
    copy_repository(tmp_path)
    params = tmp_path / "params.yaml"
    values = yaml.safe_load(params.read_text())
    rows = {name: values["runs"][name] | {"steps": 4000, "snapshots": []} for name in ("pretrain", "warmup")}
    corpora = {name: values["corpora"][own] for name, own in {"arm": "fetch", "hand": "adroit"}.items()}
    values |= {"warmup_sweep": [], "warmup_steps": 4000, "runs": rows, "corpora": corpora}
    params.write_text(yaml.safe_dump(values | {"probes": [], "evaluate": {"warmup": [4000]}}))
    make(tmp_path / "build" / "smoke", frames=12)
    first, second = piece(tmp_path, 0.0005), piece(tmp_path, 5)
    assert "its time is up at optimiser step 1 of 4; run again, it goes on from there" in first
    assert "headline: the time is up; 2 of 2 steps are left, train pretrain first; call again to go on" in first
    assert "headline: nothing is left to do" in second
    costs = {run: json.loads((tmp_path / f"build/smoke/runs/{run}/cost.json").read_text())["seeds"] for run in rows}
    assert costs["pretrain"]["0"]["attempts"] == 2 and costs["pretrain"]["0"]["steps"] == 4
    assert costs["warmup"]["1"]["attempts"] == 1
    assert "nothing is left" in piece(tmp_path, 1)


def piece(root: Path, minutes: float) -> str:
    words = ["--scale", "smoke", "--seeds", "1", "--no-reports", "--minutes", str(minutes)]
    environment = os.environ | {"PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "stages.headline", *words], cwd=root, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout
