"""Runs of fewer blocks and smaller batches: what the table says in the paper's numbers, and what a profile makes of it."""

import pytest
import yaml
from dials import add_runs, edit, resolved

from cola_world.workspace.profile import load

CPU = {"depth_20": 3, "depth_12": 2, "depth_6": 1, "e2e_long": 4}
SIZES = {
    "smoke": (CPU, (2, 3, 4)),
    "cpu": (CPU, (8, 12, 16)),
    "gpu": ({"depth_20": 6, "depth_12": 4, "depth_6": 2, "e2e_long": 9}, (64, 96, 128)),
    "paper": ({"depth_20": 20, "depth_12": 12, "depth_6": 6, "e2e_long": 28}, (64, 96, 128)),
}


@pytest.mark.parametrize("scale", SIZES)
def test_sizes_keep_the_papers_proportions(workspace, scale):
    edit(workspace, "scale", scale)
    files = resolved(workspace)
    depths, batches = SIZES[scale]
    assert {name: files[name]["system"]["stdit3"]["depth"] for name in depths} == depths
    for run in ("warmup", "e2e"):
        assert tuple(files[name]["training"]["batch_size"] for name in (f"{run}_b64", f"{run}_b96", run)) == batches
    for name in (*depths, "e2e_b64"):
        assert (files[name]["clips"], files[name]["weights"]) == (files["e2e"]["clips"], files["e2e"]["weights"])


def test_depths_that_a_profile_cannot_tell_apart_are_refused(workspace):
    edit(workspace, "system.stdit3.depth", 3, "stages/profiles/cpu.yaml")
    with pytest.raises(ValueError, match="cpu.yaml: system.stdit3.depth: 3 does not tell the depths 6, 12, 20, 28 .* at least 4 does"):
        load(workspace)
    runs = load_dials(workspace)["runs"]
    edit(workspace, "runs", {name: row for name, row in runs.items() if name not in ("depth_12", "depth_20")})
    edit(workspace, "probes", [name for name in load_dials(workspace)["probes"] if name not in ("depth_12", "depth_20")])
    assert load(workspace)[1].system.stdit3.depth == 3, "one and three pairs of blocks"


def load_dials(workspace) -> dict:
    return yaml.safe_load((workspace / "params.yaml").read_text())


@pytest.mark.parametrize(
    ("run", "steps", "start", "snapshots"),
    [
        ("wm_lam30k", 52000, 0, [30000, 52000]),
        ("wm_lam8k", 52000, 0, [52000]),
        ("e2e_long", 52000, 8000, [4000, 8000, 12000, 16000, 20000, 22000, 30000, 52000]),
        ("pure_warmup", 30000, 0, [2000, 4000, 8000, 12000, 16000, 20000, 24000, 28000, 30000]),
        ("frozen_lam", 22000, 8000, [4000, 8000, 12000, 16000, 20000, 22000]),
        ("depth_6", 22000, 8000, [4000, 8000, 12000, 16000, 20000, 22000]),
        ("e2e_b64", 20000, 15000, [20000]),
        ("e2e_b96", 20000, 12000, [20000]),
    ],
)
def test_budgets_of_the_tables(workspace, run, steps, start, snapshots):
    plan = resolved(workspace)[run]
    assert (plan["steps"], plan["start_step"], plan["snapshots"], len(plan["seeds"])) == (steps, start, snapshots, 1)


def test_parents_are_those_that_the_paper_names(workspace):
    files = resolved(workspace)
    wanted = {
        "wm_lam30k": ["pretrain@100000", "lam@30000"],
        "wm_lam8k": ["pretrain@100000", "lam@8000"],
        "frozen_lam": ["pretrain@100000", "warmup@8000"],
        "e2e_b64": ["pretrain@100000", "warmup_b64@15000"],
    }
    assert {name: [f"{p['run']}@{p['step']}" for p in files[name]["parents"]] for name in wanted} == wanted


def test_only_a_warmup_that_is_gone_on_from_keeps_moments(workspace):
    files = resolved(workspace)
    kept = {name for name, plan in files.items() if plan.get("continued")}
    assert kept == {"warmup", "warmup_b64", "warmup_b96", "continuous_warmup"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("runs.depth_6.depth", 29, "runs.depth_6.depth: 29 is out of range; nearest right one is 28"),
        ("runs.depth_6.depth", 0, "runs.depth_6.depth: 0 is out of range; nearest right one is 1"),
        ("runs.e2e_b64.batch_size", 0, "runs.e2e_b64.batch_size: 0 is out of range; nearest right one is 1"),
        ("runs.pretrain.batch_size", 64, "runs.pretrain.batch_size: 64 has no effect here; change the profile's pretraining instead"),
        ("evaluate", {}, "evaluate: {}: dictionary should have at least 1 item after validation, not 0"),
    ],
)
def test_a_size_that_cannot_be(workspace, key, value, message):
    edit(workspace, key, value)
    with pytest.raises(ValueError) as error:
        load(workspace)
    assert f"params.yaml: {message}" in str(error.value).splitlines()


def test_fewer_blocks_take_from_deeper_parents_and_more_are_refused(workspace):
    rows = {
        "shallow": {"phase": "pretrain", "steps": 100, "depth": 12},
        "same": {"phase": "e2e", "parents": ["shallow"], "steps": 100, "depth": 12},
    }
    add_runs(workspace, rows)
    assert resolved(workspace)["same"]["system"]["stdit3"]["depth"] == 2
    add_runs(workspace, {"deep": {"phase": "e2e", "parents": ["shallow"], "steps": 100}})
    with pytest.raises(ValueError) as error:
        resolved(workspace)
    brings = "'shallow' brings no stdit3.spatial_blocks.2.scale_shift_table, and deep has it as (6, 64)"
    assert str(error.value) == f"params.yaml: runs.deep.parents: {brings}; give both the same changes.system, or leave this parent out"


def test_a_width_that_differs_is_refused_whatever_the_depth(workspace):
    row = {"phase": "e2e", "parents": ["pretrain"], "steps": 100, "depth": 6, "changes": {"system": {"stdit3": {"width": 32}}}}
    add_runs(workspace, {"narrow": row})
    with pytest.raises(ValueError, match=r"'pretrain' brings stdit3\..* of \(.*\), and narrow has it as"):
        resolved(workspace)


def test_what_is_evaluated_and_on_which_groups(workspace):
    files = resolved(workspace)
    evaluated = {name.partition("/")[2]: plan["snapshots"] for name, plan in files.items() if name.startswith("evaluate/")}
    assert evaluated["wm_lam30k"] == [30000, 52000] and evaluated["pure_warmup"] == [2000, 4000, 8000] and len(evaluated) == 9
    plan = files["evaluate/e2e_long"]
    assert plan["run"] == files["e2e_long"] and plan["run"]["seeds"] == files["e2e"]["seeds"][:1] and plan["networks"] == {}
    assert plan["prediction"] == {"clips": 96, "steps": 10, "guidance": 4.0, "clips_at_a_time": 48}
    assert plan["groups"] == {
        "oxe": {"corpora": ["fetch", "pusher", "sawyer", "sawyer_corner"], "trained": True},
        "egocentric": {"corpora": ["adroit"], "trained": True},
        "agibot": {"corpora": ["two_arms"], "trained": True},
        "libero": {"corpora": ["kitchen"], "trained": False},
    }


@pytest.mark.parametrize(
    ("name", "snapshots", "message"),
    [
        ("e2e_lnog", [4000], "evaluate: 'e2e_lnog' is no run; nearest is 'e2e_long'"),
        ("lam", [8000], "evaluate: 'lam' has no world model of latent actions; those that do: .*e2e_long.*"),
        ("e2e_long", [5000], "evaluate.e2e_long: 5000 is no snapshot of it; it has 4000, 8000, 12000, 16000, 20000, 22000, 30000, 52000"),
    ],
)
def test_what_cannot_be_evaluated(workspace, name, snapshots, message):
    edit(workspace, "evaluate", {name: snapshots})
    with pytest.raises(ValueError, match=f"^params.yaml: {message}$"):
        resolved(workspace)
