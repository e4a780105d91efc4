"""What is collected is what was measured, digit by digit, in one order, and of planned runs only."""

import csv
import json
import random
import shutil

import pytest
import synthetic

from cola_world.reporting import results
from cola_world.reporting.plan import read_plan
from cola_world.reporting.site import cost_table


@pytest.fixture
def root(tmp_path):
    synthetic.write_plan(tmp_path, [1, 2, 10])
    for run in ("lam", "e2e"):
        synthetic.write_run(tmp_path, run, [1, 2, 10])
    return tmp_path


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_number_comes_through_and_rows_are_sorted(root):
    results.collect(root)
    rows = read(root / results.RESULTS)
    assert tuple(rows[0]) == results.COLUMNS
    found = {(row["run"], row["seed"], row["snapshot"], row["metric"]): row["value"] for row in rows}
    written = {
        (path.parts[-3], path.stem.removeprefix("seed"), row["step"], row["metric"]): row["value"]
        for path in root.glob("runs/*/metrics/*.csv")
        for row in read(path)
    }
    assert found == written
    keys = [(row["run"], int(row["snapshot"]), row["corpus"], int(row["seed"]), row["metric"]) for row in rows]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


def test_order_of_the_rows_of_a_run_and_cost_change_nothing(root):
    results.collect(root)
    before = [(root / name).read_bytes() for name in (results.RESULTS, results.RUNS)]
    path = root / "runs/e2e/metrics/seed1.csv"
    head, *lines = path.read_text().splitlines()
    random.Random(0).shuffle(lines)
    path.write_text("\n".join([head, *lines]) + "\n")
    cost = (root / "runs/e2e/cost.json").read_text()
    (root / "runs/e2e/cost.json").write_text(cost.replace("41.5", "99.5"))
    results.collect(root)
    assert [(root / name).read_bytes() for name in (results.RESULTS, results.RUNS)] == before
    assert "99.5" in (root / results.COSTS).read_text()


def test_costs_are_of_stages_runs_and_what_was_never_finished(root, monkeypatch):
    monkeypatch.delenv("COLA_SCRATCH", raising=False)
    spent = {"wall_s": 3.0, "attempts": 2, "outcome": "done", "steps": 0, "peak_rss_mb": 100, "peak_device_mb": 0, "device": "cpu"}
    synthetic.dump(root / "runs/cost/vae.json", spent | {"run": "vae"})
    failed = spent | {"run": "e2e", "seed": 4, "outcome": "failed", "wall_s": 60.0}
    synthetic.dump(root / ".cola/runs/0123/attempts/1.json", failed)
    results.collect(root)
    costs = results.read_costs(root)
    assert costs["run"].tolist() == ["vae", *["e2e"] * 3, *["lam"] * 3, "e2e"]
    assert costs["outcome"].tolist() == ["done"] * 7 + ["failed"] and costs["wall_s"].sum() == 3 + 6 * 41.5 + 60
    page = str(cost_table(costs))
    assert "killed or failed, and not taken up again" in page and ">6</td>" in page  # 6 seeds of 1 PFLOP


def test_a_run_that_is_no_longer_planned_is_left_out(root):
    synthetic.write_run(root, "e2e_from_1000", [1])
    (root / "runs/plan/e2e_from_1000.json").unlink()
    results.collect(root)
    assert set(results.read_rows(root)["run"]) == {"lam", "e2e"}


def test_rows_that_a_later_stage_measured_are_there_with_the_run_s_scale_and_commit(root):
    header = "run,snapshot,corpus,seed,metric,value,protocol\n"
    for run in ("e2e", "lam"):
        path = root / "runs/probe" / f"{run}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(header + f"{run},30000,arm,2,probe/l1,0.1235,linear\n{run},30000,arm,2,probe/skill,0.25,linear\n")
    synthetic.dump(root / "runs/plan/probe/e2e.json", {})
    results.collect(root)
    rows = results.read_rows(root)
    probed = rows[rows["metric"].str.startswith("probe/")]
    assert set(probed["run"]) == {"e2e"}, "a probe that is no longer planned is left out"
    assert probed["value"].tolist() == [0.1235, 0.25] and set(probed["corpus"]) == {"arm"}
    trained = rows[(rows["run"] == "e2e") & (rows["seed"] == 2) & (rows["corpus"] == results.HELDOUT)]
    for name in ("scale", "commit"):
        assert set(probed[name]) == set(trained[name])
    assert results.finals(rows, "e2e", "probe/l1").to_dict() == {2: 0.1235}


def test_ceilings_are_there_with_their_scale_and_no_commit(root):
    synthetic.write_ceilings(root, 1)
    results.collect(root)
    rows = results.read_rows(root)
    found = rows[rows["run"].isin(["pixels", "supervised_idm"])]
    assert found["value"].tolist() == [0.91, 0.82, -0.001] and set(found["scale"]) == {"cpu"} and set(found["commit"]) == {"none"}
    (root / "runs/plan/ceilings.json").unlink()
    results.collect(root)
    assert "pixels" not in set(results.read_rows(root)["run"]), "ceilings that are no longer planned are left out"


def test_runs_that_are_equal_are_told_apart_but_cost_once(root):
    path = root / "runs/lam/cost.json"
    shared = json.loads(path.read_text())
    for cost in shared["seeds"].values():
        cost["run"] = "e2e"
    synthetic.dump(path, shared)
    results.collect(root)
    assert set(results.read_rows(root)["run"]) == {"lam", "e2e"}
    assert results.read_costs(root)["run"].tolist() == ["e2e"] * 3


def test_a_glance_at_the_ends_of_runs_leaves_out_what_groups_of_corpora_gave(root):
    synthetic.dump(root / "runs/plan/evaluate/e2e.json", {})
    (root / "runs/evaluate").mkdir()
    text = "run,snapshot,corpus,seed,metric,value,protocol\ne2e,30000,oxe,1,video/psnr,22.5,of clips\n"
    (root / "runs/evaluate/e2e.csv").write_text(text)
    results.collect(root)
    rows = results.read_rows(root)
    assert rows.loc[rows["corpus"] == "oxe", "value"].tolist() == [22.5]
    assert "video/psnr" not in results.read_json(root / results.METRICS)["e2e"]


def test_final_values_are_of_the_last_step(root):
    results.collect(root)
    rows = results.read_rows(root)
    last = results.finals(rows, "e2e", "flow_loss")
    assert list(last.index) == [1, 2, 10]
    assert rows.loc[rows["run"] == "e2e", "snapshot"].agg(["min", "max"]).tolist() == [8000, 30000]
    values = results.curve(rows, "e2e", "flow_loss").query("seed == 10 and snapshot == 30000")["value"]
    assert last[10] == values.item()


def test_missing_files_are_named(root):
    with pytest.raises(ValueError, match="results.csv"):
        results.read_rows(root)
    shutil.rmtree(root / "runs/plan")
    with pytest.raises(ValueError, match="report.json"):
        read_plan(root)


def test_a_wrong_plan_is_named(root):
    synthetic.dump(root / "runs/plan/report.json", {"scale": "cpu"})
    with pytest.raises(ValueError, match="report.json: seeds"):
        read_plan(root)
