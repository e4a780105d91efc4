"""Rows of the runs table resolve to plans whose parents fit; a change that does not is refused in one line."""

from pathlib import Path

import pytest
from dials import add_runs, edit, resolved

from cola_world.training.plan import RunPlan
from cola_world.workspace import plan
from cola_world.workspace.profile import load


def test_shared_parent_is_seed_zero_for_every_seed(workspace):
    e2e = RunPlan.model_validate(resolved(workspace)["e2e"])
    pretrain, warmup = e2e.parents
    assert pretrain.path(Path("runs"), 3).name == "seed0.safetensors" and warmup.path(Path("runs"), 3).name == "seed3.safetensors"
    assert warmup.step == e2e.start_step == 8000


def test_arms_of_the_comparison_share_every_setting_but_parents_and_budget(workspace):
    files = resolved(workspace)
    own = {"run", "parents", "start_step", "steps", "snapshots"}
    runs = [files[name] for name in ("e2e", "e2e_from_2000", "naive_random", "naive_pretrained_idm", "both_random")]
    assert all({k: v for k, v in run.items() if k not in own} == {k: v for k, v in runs[0].items() if k not in own} for run in runs)


def test_plans_are_written_byte_stable(workspace):
    files = resolved(workspace)
    plan.write(files, workspace / "a")
    plan.write(dict(reversed(files.items())), workspace / "b")
    assert all((workspace / "a" / f"{n}.json").read_bytes() == (workspace / "b" / f"{n}.json").read_bytes() for n in files)


CONTINUOUS = {"system": {"bottleneck": "vae", "action_gain": 1.0}}
# The runs of the paper's Table 6: LAM30K + WM30K beside WARM4K + E2E30K.
TABLE_6 = ("continuous_lam", "continuous_2stage", "continuous_warmup", "continuous_joint")


@pytest.mark.parametrize("scale", ["smoke", "cpu", "gpu", "paper"])
def test_continuous_runs_are_rows_that_change_the_system(workspace, scale):
    edit(workspace, "scale", scale)
    files = resolved(workspace)
    for name in TABLE_6:
        assert files[name]["system"] == files["e2e"]["system"] | {"bottleneck": "vae", "action_gain": 1.0}
    assert {name: files[name]["steps"] for name in TABLE_6} == dict(zip(TABLE_6, (30000, 30000, 4000, 30000), strict=True))
    joint = files["continuous_joint"]
    assert joint["start_step"] == 4000 and [parent["run"] for parent in joint["parents"]] == ["pretrain", "continuous_warmup"]
    assert all(joint[name] == files["e2e"][name] for name in ("clips", "weights", "training"))


def test_a_run_may_take_the_first_of_the_seeds(workspace):
    edit(workspace, "seeds", [7, 3, 5])
    add_runs(workspace, {"some": {"phase": "lam", "steps": 100, "seeds": 2}, "all": {"phase": "lam", "steps": 100}})
    files = resolved(workspace)
    assert files["some"]["seeds"] == [7, 3] and files["all"]["seeds"] == [7, 3, 5]


def test_rows_of_the_larger_tables_take_as_many_seeds_as_their_dial_says(workspace):
    edit(workspace, "seeds", [7, 3, 5])
    for heavy, seeds in ((1, [7]), (2, [7, 3]), (9, [7, 3, 5])):
        edit(workspace, "heavy_seeds", heavy)
        files = resolved(workspace)
        assert files["wm_lam8k"]["seeds"] == files["evaluate/wm_lam8k"]["run"]["seeds"] == seeds and files["e2e"]["seeds"] == [7, 3, 5]


def test_a_child_has_no_more_seeds_than_its_parent(workspace):
    rows = {"few": {"phase": "lam", "steps": 100, "seeds": 1}, "child": {"phase": "e2e", "parents": ["few"], "steps": 100}}
    add_runs(workspace, rows)
    with pytest.raises(ValueError, match="runs.child.parents: 'few' has 1 of the seeds; runs.child.seeds can be no more"):
        load(workspace)


def test_a_change_reaches_into_nested_settings_and_keeps_their_neighbours(workspace):
    row = {"phase": "lam", "steps": 100, "changes": {"system": {"idm": {"depth": 3}}, "training": {"batch_size": 5}}}
    add_runs(workspace, {"deep": row})
    files = resolved(workspace)
    assert files["deep"]["system"]["idm"] == files["lam"]["system"]["idm"] | {"depth": 3}
    assert files["deep"]["training"] == files["lam"]["training"] | {"batch_size": 5}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sytem": {}}, "sytem: unknown key (value {}); nearest is 'system'"),
        ({"system": {"botleneck": "vae"}}, "system.botleneck: unknown key (value 'vae'); nearest is 'bottleneck'"),
        ({"system": {"bottleneck": "vea"}}, "system.bottleneck: 'vea' is not one of 'vq' or 'vae'"),
        ({"system": {"continuous": {"kl_mim": 3}}}, "system.continuous.kl_mim: unknown key (value 3); nearest is 'kl_min'"),
        ({"system": {"idm": 3}}, "system.idm: 3: input should be a valid dictionary or instance of IDMConfig"),
        ({"system": {"idm": {"image_size": 64}}}, "system.idm.image_size: 64 exceeds clips.crop; at most 32 is possible"),
        ({"training": {"batch_size": 0}}, "training.batch_size: 0 is out of range; nearest right one is 1"),
    ],
)
def test_wrong_change(workspace, changes, message):
    add_runs(workspace, {"other": {"phase": "lam", "steps": 100, "changes": changes}})
    with pytest.raises(ValueError) as error:
        load(workspace)
    assert f"params.yaml: runs.other.changes.{message}" in str(error.value).splitlines()


def test_a_change_without_effect_is_refused(workspace):
    edit(workspace, "runs.pretrain.changes", {"training": {"batch_size": 5}})
    with pytest.raises(ValueError, match=r"runs.pretrain.changes.training: \{'batch_size': 5\} has no effect here"):
        load(workspace)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"phase": "wm", "parents": ["lam"], "changes": CONTINUOUS},
            "'lam' brings quantizer.codebook of (32, 32), and other has no such part",
        ),
        (
            {"phase": "wm", "parents": ["pretrain", "continuous_lam"]},
            "'continuous_lam' brings quantizer.moments.weight of (64, 32), and other has no such part",
        ),
        (
            {"phase": "e2e", "parents": ["lam"], "changes": {"system": {"idm": {"width": 64}}}},
            "'lam' brings idm.patch.weight of (32, 3, 8, 8), and other has it as (64, 3, 8, 8)",
        ),
    ],
)
def test_a_parent_whose_parts_do_not_fit(workspace, row, message):
    add_runs(workspace, {"other": {"steps": 100, "seeds": 1} | row})
    with pytest.raises(ValueError) as error:
        resolved(workspace)
    assert str(error.value) == f"params.yaml: runs.other.parents: {message}; give both the same changes.system, or leave this parent out"


def test_a_parent_fits_when_the_change_is_in_a_part_that_it_does_not_bring(workspace):
    row = {"phase": "e2e", "parents": ["pretrain"], "steps": 100, "changes": {"system": {"idm": {"width": 64}}}}
    add_runs(workspace, {"other": row})
    assert resolved(workspace)["other"]["system"]["idm"]["width"] == 64
