"""A wrong dial is refused in one line that names the key, the value and what would be right."""

import shutil
from pathlib import Path

import pytest
import yaml

from cola_world import config, plan
from cola_world.weights import read_table

ROOT = Path(__file__).parents[1]


@pytest.fixture
def workspace(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "stages" / "profiles", tmp_path / "stages" / "profiles")
    return tmp_path


def edit(workspace: Path, key: str, value: object, file: str = "params.yaml") -> None:
    path = workspace / file
    content = yaml.safe_load(path.read_text())
    *parents, last = key.split(".")
    target = content
    for name in parents:
        target = target[name]
    target[last] = value
    path.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize("scale", ["smoke", "cpu", "gpu", "paper"])
def test_every_scale_resolves_to_the_same_steps(workspace, scale):
    edit(workspace, "scale", scale)
    files = plan.resolve(*config.load(workspace), read_table(ROOT / "data" / "weights.yaml"))
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
        ("runs.lam.snapshots", [40000], "runs.lam.snapshots: 40000 is past the budget; the latest possible one is 30000"),
        ("runs.e2e.parents", ["pretrian"], "runs.e2e.parents: 'pretrian' is no run; nearest is 'pretrain'"),
        ("corpora.fetch.grup", 1, "corpora.fetch.grup: unknown key (value 1); nearest is 'group'"),
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


def changed(workspace: Path, key: str, value: object) -> set[str]:
    before = plan.resolve(*config.load(workspace))
    edit(workspace, key, value)
    after = plan.resolve(*config.load(workspace))
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_a_known_fork_changes_only_what_comes_after_it(workspace):
    assert changed(workspace, "warmup_steps", 4000) == {"e2e", "report"}


def test_a_new_fork_changes_the_warmup_too(workspace):
    assert changed(workspace, "warmup_steps", 3000) == {"warmup", "e2e", "report"}


def test_a_longer_warmup_than_the_table_says_extends_it(workspace):
    edit(workspace, "warmup_steps", 12000)
    warmup = plan.resolve(*config.load(workspace))["warmup"]
    assert warmup["steps"] == 12000 and warmup["snapshots"] == [1000, 2000, 4000, 12000]


def test_shared_parent_is_seed_zero_for_every_seed(workspace):
    e2e = plan.RunPlan.model_validate(plan.resolve(*config.load(workspace))["e2e"])
    pretrain, warmup = e2e.parents
    assert pretrain.path(Path("runs"), 3).name == "seed0.safetensors" and warmup.path(Path("runs"), 3).name == "seed3.safetensors"
    assert warmup.step == e2e.start_step == 8000


def test_arms_of_the_comparison_share_every_setting_but_parents_and_budget(workspace):
    files = plan.resolve(*config.load(workspace))
    own = {"run", "parents", "start_step", "steps", "snapshots"}
    runs = [files[name] for name in ("e2e", "e2e_from_2000", "naive_random", "naive_pretrained_idm", "both_random")]
    assert all({k: v for k, v in run.items() if k not in own} == {k: v for k, v in runs[0].items() if k not in own} for run in runs)


def test_plans_are_written_byte_stable(workspace):
    files = plan.resolve(*config.load(workspace))
    plan.write(files, workspace / "a")
    plan.write(dict(reversed(files.items())), workspace / "b")
    assert all((workspace / "a" / f"{n}.json").read_bytes() == (workspace / "b" / f"{n}.json").read_bytes() for n in files)
