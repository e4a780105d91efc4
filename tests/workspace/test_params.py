"""A wrong dial is refused in one line that names the key, the value and what would be right; a right one changes just what it should."""

from pathlib import Path

import pytest
import yaml
from dials import edit, resolved

from cola_world.workspace.profile import load


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
        load(workspace)
    assert f"params.yaml: {message}" in str(error.value).splitlines()


def changed(workspace: Path, key: str, value: object) -> set[str]:
    before = resolved(workspace)
    edit(workspace, key, value)
    after = resolved(workspace)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_a_corpus_that_is_brought_is_indexed_where_it_lies(workspace):
    edit(workspace, "corpora.own", {"group": "oxe", "path": "data/own/bridge"})
    files = resolved(workspace)
    assert files["simulate/own"] == {"path": "data/own/bridge"}
    assert files["manifest"]["corpora"]["own"]["path"] == "data/own/bridge" and "own" in files["e2e"]["weights"]


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
    return {corpus for plan in files.values() if "phase" in plan for corpus in plan["weights"]}


def test_nothing_is_trained_on_a_corpus_for_evaluation_only(workspace):
    corpora = yaml.safe_load((workspace / "params.yaml").read_text())["corpora"]
    kept = {name for name, corpus in corpora.items() if corpus.get("evaluation_only")}
    files = resolved(workspace)
    assert kept and trained_on(files) == set(corpora) - kept
    assert kept <= set(files["probe/e2e_long"]["corpora"]) and kept <= set(files["manifest"]["corpora"])
    assert files["report"]["data"].keys() == files["e2e"]["weights"].keys()


def test_a_corpus_that_is_no_longer_for_evaluation_only_takes_its_group_s_share(workspace):
    before = resolved(workspace)
    edit(workspace, "corpora.two_arms.evaluation_only", False)
    after = resolved(workspace)
    assert after["e2e"]["weights"]["two_arms"] == pytest.approx(0.2) and not after["report"]["notes"]
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
