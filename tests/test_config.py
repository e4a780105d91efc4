"""A wrong dial is refused in one line that names the key, the value and what would be right."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from dials import add_runs, edit, resolved

from cola_world import config, plan
from cola_world.training.vae import VAEPlan

ROOT = Path(__file__).parents[1]


@pytest.fixture
def workspace(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "stages" / "profiles", tmp_path / "stages" / "profiles")
    return tmp_path


@pytest.mark.parametrize("scale", ["smoke", "cpu", "gpu", "paper"])
def test_every_scale_resolves_to_the_same_steps(workspace, scale):
    edit(workspace, "scale", scale)
    files = resolved(workspace)
    assert {"simulate/sawyer", "clips", "vae", "latents", "pretrain", "lam", "warmup", "e2e", "e2e_from_2000", "report"} <= set(files)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("warmup_steps", 0, "warmup_steps: 0 is out of range; nearest right one is 1"),
        ("warmup_step", 4000, "warmup_step: unknown key (value 4000); nearest is 'warmup_steps'"),
        ("warmup_steps", "many", "warmup_steps: 'many': input should be a valid integer"),
        ("warmup_sweep", [9000], "warmup_sweep: 9000 is past the warm-up's budget; the latest possible one is 8000"),
        ("scale", "cpuu", "scale: 'cpuu' is not one of 'smoke', 'cpu', 'gpu' or 'paper'"),
        ("seeds", [1, 1], "seeds: [1, 1] names one twice; right would be [1]"),
        ("heavy_seeds", 0, "heavy_seeds: 0 is out of range; nearest right one is 1"),
        ("runs.lam.seeds", 0, "runs.lam.seeds: 0 is neither a number from 1 on nor the dial 'heavy_seeds'"),
        ("runs.lam.seeds", "havy_seeds", "runs.lam.seeds: 'havy_seeds' is neither a number from 1 on nor the dial 'heavy_seeds'"),
        ("runs.lam.snapshots", [40000], "runs.lam.snapshots: 40000 is past the budget; the latest possible one is 30000"),
        ("runs.e2e.parents", ["pretrian"], "runs.e2e.parents: 'pretrian' is no run; nearest is 'pretrain'"),
        ("corpora.fetch.grup", 1, "corpora.fetch.grup: unknown key (value 1); nearest is 'group'"),
        (
            "corpora.kitchen.evaluation_only",
            False,
            "corpora.kitchen.evaluation_only: false does not go with the group 'out_of_distribution'; the right one is true",
        ),
        (
            "corpora.own", {"group": "oxe", "environment": "fetch", "path": "data/own/a"},
            "corpora.own.environment: name the simulator that renders it, or with path the data set that it is; one of the two",
        ),
        (
            "corpora.own", {"group": "oxe", "path": "data/raw/own"},
            "corpora.own.path: 'data/raw/own' is where simulated data is replaced; keep your own elsewhere, as data/own/<name>",
        ),
        ("mixture", {"humans": 1.0}, "mixture: 'humans' is no group of corpora; nearest is 'human'"),
    ],
)
def test_wrong_dial(workspace, key, value, message):
    edit(workspace, key, value)
    with pytest.raises(ValueError) as error:
        config.load(workspace)
    assert f"params.yaml: {message}" in str(error.value).splitlines()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("training.learning_rate", "1e-4", "training.learning_rate: '1e-4' is text, not a number; YAML wants a dot, as in 1.0e-4"),
        ("clips.crop", 99, "clips.crop: 99 is larger than the frame; at most 36 is possible"),
        ("system.idm.image_size", 64, "system.idm.image_size: 64 exceeds clips.crop; at most 32 is possible"),
        ("system.flow.shft", 2.0, "system.flow.shft: unknown key (value 2.0); nearest is 'shift'"),
    ],
)
def test_wrong_profile(workspace, key, value, message):
    edit(workspace, key, value, "stages/profiles/cpu.yaml")
    with pytest.raises(ValueError) as error:
        config.load(workspace)
    assert f"cpu.yaml: {message}" in str(error.value).splitlines()


SMALL = {"kind": "small", "model": {"channels": [8], "groups": 4}, "steps": 4, "batch_size": 4, "learning_rate": 1.0e-3}
PUBLIC = {"path": "data/weights/vae"}
GROUPED = {"vae": {"kind": "opensora"} | PUBLIC, "actions": 4, "num_frames": 17}


def set_vae(workspace: Path, vae: dict, actions: int, num_frames: int) -> None:
    edit(workspace, "scale", "gpu")
    file = "stages/profiles/gpu.yaml"
    edit(workspace, "vae", vae, file)
    edit(workspace, "system.action_adaln.actions_per_latent_frame", actions, file)
    edit(workspace, "clips.num_frames", num_frames, file)


@pytest.mark.parametrize(
    "dials",
    [
        {"vae": SMALL, "actions": 1, "num_frames": 8},
        {"vae": {"kind": "sdxl"} | PUBLIC, "actions": 1, "num_frames": 8},
        GROUPED,
        GROUPED | {"num_frames": 5},
    ],
)
def test_a_vae_of_any_kind_resolves_to_what_its_stage_reads(workspace, dials):
    set_vae(workspace, **dials)
    files = resolved(workspace)
    made = VAEPlan.model_validate_json(json.dumps(files["vae"])).root
    assert made.kind == dials["vae"]["kind"] and made.crop == files["latents"]["crop"]
    assert files["latents"]["num_frames"] == files["e2e"]["batches"]["num_frames"] == dials["num_frames"]


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"vae": {"kind": "sdlx"} | PUBLIC}, "vae.kind: 'sdlx' is not one of 'small', 'sdxl' or 'opensora'"),
        ({"vae": {"kind": "opensora"}}, "vae.path: missing; the kind 'opensora' has no default for it"),
        ({"vae": {"kind": "sdxl", "steps": 5} | PUBLIC}, "vae.steps: 5 has no effect on the kind 'sdxl'; leave it out"),
        ({"vae": SMALL | PUBLIC, "actions": 1}, "vae.path: 'data/weights/vae' has no effect on the kind 'small'; leave it out"),
        ({"vae": SMALL | {"model": {"chanels": [8]}}}, "vae.model.chanels: unknown key (value [8]); nearest is 'channels'"),
        (
            {"actions": 1},
            "system.action_adaln.actions_per_latent_frame: 1 does not go with the VAE 'opensora'; the right one is 4",
        ),
        (
            {"vae": SMALL},
            "system.action_adaln.actions_per_latent_frame: 4 does not go with the VAE 'small'; the right one is 1",
        ),
        ({"num_frames": 8}, "clips.num_frames: 8 is no clip of one frame and then 4 a latent, up to 17; nearest right one is 9"),
        ({"num_frames": 21}, "clips.num_frames: 21 is no clip of one frame and then 4 a latent, up to 17; nearest right one is 17"),
    ],
)
def test_wrong_vae(workspace, dials, message):
    set_vae(workspace, **(GROUPED | dials))
    with pytest.raises(ValueError) as error:
        config.load(workspace)
    assert f"gpu.yaml: {message}" in str(error.value).splitlines()


def changed(workspace: Path, key: str, value: object) -> set[str]:
    before = resolved(workspace)
    edit(workspace, key, value)
    after = resolved(workspace)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_a_corpus_that_is_brought_is_indexed_where_it_lies(workspace):
    edit(workspace, "corpora.own", {"group": "oxe", "path": "data/own/bridge"})
    files = plan.resolve(*config.load(workspace))
    assert files["simulate/own"] == {"corpus": "own", "path": "data/own/bridge"}
    assert files["manifest"]["corpora"]["own"]["path"] == "data/own/bridge" and "own" in files["e2e"]["batches"]["weights"]


# What goes on from the warm-up's end, and what is measured of it.
DEPTHS = ("depth_6", "depth_12", "depth_20")
FORKED = {"e2e", "e2e_long", "frozen_lam", *DEPTHS, "evaluate/e2e_long", "evaluate/frozen_lam"}
FORKED |= {f"probe/{name}" for name in ("e2e", "e2e_long", *DEPTHS)}


def test_a_known_fork_changes_only_what_comes_after_it(workspace):
    assert changed(workspace, "warmup_steps", 4000) == FORKED | {"report"}


def test_a_new_fork_changes_the_warmup_too(workspace):
    assert changed(workspace, "warmup_steps", 3000) == FORKED | {"warmup", "report"}


def test_a_longer_warmup_than_the_table_says_extends_it(workspace):
    edit(workspace, "warmup_steps", 12000)
    warmup = resolved(workspace)["warmup"]
    assert warmup["steps"] == 12000 and warmup["snapshots"] == [2000, 4000, 12000]


def trained_on(files: dict) -> set[str]:
    return {corpus for plan in files.values() if "batches" in plan for corpus in plan["batches"]["weights"]}


def test_nothing_is_trained_on_a_corpus_for_evaluation_only(workspace):
    corpora = yaml.safe_load((workspace / "params.yaml").read_text())["corpora"]
    kept = {name for name, corpus in corpora.items() if corpus.get("evaluation_only")}
    files = resolved(workspace)
    assert kept and trained_on(files) == set(corpora) - kept
    assert kept <= set(files["probe/e2e_long"]["corpora"]) and kept <= set(files["manifest"]["corpora"])
    assert files["report"]["data"].keys() == files["e2e"]["batches"]["weights"].keys()


def test_a_corpus_that_is_no_longer_for_evaluation_only_takes_its_group_s_share(workspace):
    before = resolved(workspace)
    edit(workspace, "corpora.two_arms.evaluation_only", False)
    after = resolved(workspace)
    assert after["e2e"]["batches"]["weights"]["two_arms"] == pytest.approx(0.2) and not after["report"]["notes"]
    assert after["simulate/two_arms"] == before["simulate/two_arms"]


def test_probes_are_of_robots_that_show_their_actions(workspace):
    files = resolved(workspace)
    assert set(files["probe/lam"]["corpora"]) == {"sawyer", "fetch", "sawyer_corner", "pusher", "two_arms", "kitchen"}
    assert files["probe/lam"]["run"] == files["lam"]
    edit(workspace, "probes", ["lam", "e2e"])
    assert changed(workspace, "probes", ["lam"]) == {"probe/e2e"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("e2e_from_200", "'e2e_from_200' is no run; nearest is 'e2e_from_2000'"),
        ("continuous_2stage", "'continuous_2stage' learns no latent actions of its own; those that do: .*e2e"),
    ],
)
def test_a_run_that_cannot_be_probed(workspace, name, message):
    edit(workspace, "probes", [name])
    with pytest.raises(ValueError, match=f"params.yaml: probes: {message}"):
        resolved(workspace)


def test_shared_parent_is_seed_zero_for_every_seed(workspace):
    e2e = plan.RunPlan.model_validate(resolved(workspace)["e2e"])
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
    assert joint["batches"] == files["e2e"]["batches"] and joint["training"] == files["e2e"]["training"]


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
        config.load(workspace)


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
        config.load(workspace)
    assert f"params.yaml: runs.other.changes.{message}" in str(error.value).splitlines()


def test_a_change_without_effect_is_refused(workspace):
    edit(workspace, "runs.pretrain.changes", {"training": {"batch_size": 5}})
    with pytest.raises(ValueError, match=r"runs.pretrain.changes.training: \{'batch_size': 5\} has no effect here"):
        config.load(workspace)


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
