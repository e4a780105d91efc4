"""Experiments are compared by what they turn and how joint training ends in them."""

import json
import os
import subprocess
import sys

import pytest
import synthetic
import yaml
from conftest import IDENTITY, ROOT

from cola_world.reporting import results
from cola_world.reporting.experiments import OUT, Experiment, compare, turned

DIALS = {"scale": "cpu", "warmup_steps": 8000, "mixture": {"oxe": 0.3, "human": 0.5}}


@pytest.fixture
def rows(tmp_path):
    root = tmp_path / "other"
    synthetic.write_plan(root, [1, 2])
    for run in ("lam", "e2e"):
        synthetic.write_run(root, run, [1, 2])
    results.collect(root)
    return results.read_rows(root)


def test_what_is_turned_is_told_key_by_key(rows):
    base = Experiment("workspace", DIALS, rows)
    other = Experiment("a", {**DIALS, "warmup_steps": 2000, "mixture": {"oxe": 0.4, "human": 0.5}, "seeds": [1]}, rows)
    assert turned(other, base) == {"mixture.oxe": 0.4, "seeds": [1], "warmup_steps": 2000} and turned(base, base) == {}


def test_every_experiment_is_a_row_and_one_curve_where_scales_agree(rows, tmp_path):
    e2e = rows["run"] == "e2e"
    other = rows.assign(value=rows["value"].where(~e2e, 0.25))
    compare(
        [
            Experiment("workspace", DIALS, rows),
            Experiment("worse-warm", DIALS | {"warmup_steps": 2000}, other),
            Experiment("bigger", DIALS | {"scale": "gpu"}, rows),
            Experiment("stopped", DIALS | {"warmup_steps": 1}, None),
        ],
        tmp_path,
    )
    page = (tmp_path / OUT).read_text()
    assert page.count("<tr>") == 1 + 4 and "no results yet" in page and "warmup_steps=2000" in page and "scale=gpu" in page
    [row] = [line for line in page.split("<tr>") if "worse-warm" in line]
    assert "0.250" in row and page.count("data:image/svg") == 1


def test_nothing_to_compare_is_said(rows, tmp_path):
    with pytest.raises(ValueError, match="no experiments here; `dvc exp run -S warmup_steps=4000` makes one"):
        compare([Experiment("workspace", DIALS, rows)], tmp_path)


def test_means_for_a_glance_are_of_the_last_step(rows, tmp_path):
    found = json.loads((tmp_path / "other" / results.METRICS).read_text())
    assert set(found) == {"lam", "e2e"} and not any(name.startswith("train/") for name in found["e2e"])
    assert found["e2e"]["flow_loss"] == pytest.approx(results.finals(rows, "e2e", "flow_loss").mean(), rel=1e-5)


PIPELINE = {
    "stages": {
        "results": {
            "cmd": f"{sys.executable} make.py",
            "params": ["warmup_steps"],
            "deps": ["make.py", "rows.csv"],
            "outs": [{"reports/results.csv": {"cache": False}}],
        }
    }
}
MAKE = "import pathlib, shutil; pathlib.Path('reports').mkdir(exist_ok=True); shutil.copyfile('rows.csv', 'reports/results.csv')\n"


@pytest.mark.slow
def test_experiments_of_dvc_are_found(rows, tmp_path):
    root = tmp_path / "workspace"
    root.mkdir()
    rows.to_csv(root / "rows.csv", index=False)
    (root / "make.py").write_text(MAKE)
    (root / "params.yaml").write_text(yaml.safe_dump(DIALS))
    (root / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "src")))}

    def call(*words: str) -> None:
        done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def dvc(*words: str) -> None:
        call(sys.executable, "-m", "dvc", *words)

    call("git", "init", "-q")
    dvc("init", "-q")
    dvc("repro", "-q")
    call("git", "add", "-A")
    call("git", *IDENTITY, "commit", "-qm", "A workspace")
    dvc("exp", "run", "-q", "-n", "shorter", "-S", "warmup_steps=2000")
    call("git", "checkout", "-q", ".")
    call(sys.executable, "-m", "stages.compare")
    table = (root / OUT).read_text().partition("Final values")[2]
    assert "<td>shorter</td><td>warmup_steps=2000</td>" in table
