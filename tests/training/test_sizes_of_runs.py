"""World models of fewer blocks start from the first ones of a deeper parent; runs that are equal are trained once."""

import pytest
import torch
from caches import make, plan
from tiny import CONFIG, awake

from cola_world.models.stdit3 import beyond_depth
from cola_world.training import checkpoint, runs, store
from cola_world.training.devices import Devices, load_parts
from cola_world.training.plan import Parent
from cola_world.training.run import SeedRun, train
from cola_world.training.runs import collect

SHALLOW = CONFIG.model_copy(update={"stdit3": CONFIG.stdit3.model_copy(update={"depth": 1})})
PRETRAIN = Parent(run="pretrain", step=4, shared=True)
WARMUP = Parent(run="warmup", step=4, shared=False)


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    monkeypatch.setenv("COLA_SCRATCH", str(tmp_path / "scratch"))
    return make(tmp_path)


def silent(done: int, total: int) -> None:
    pass


def trained(a_plan, inputs, seed: int = 1):
    folder = train(a_plan, seed, inputs, silent)
    collect(a_plan, {seed: folder}, inputs)
    return folder


def tensors(system) -> dict[str, torch.Tensor]:
    return {f"{part}.{name}": p.detach() for part, module in system.parts().items() for name, p in module.named_parameters()}


def test_blocks_are_told_by_their_number():
    names = ["stdit3.spatial_blocks.0.mlp.fc1.weight", "stdit3.temporal_blocks.1.attn.proj.bias", "stdit3.spatial_blocks.10.mlp.fc1.bias"]
    assert [[beyond_depth(name, depth) for name in names] for depth in (1, 2, 10, 11)] == [
        [False, True, True], [False, False, True], [False, False, True], [False, False, False],
    ]  # fmt: skip
    others = ("idm.blocks.7.mlp.fc1.weight", "action_adaln.blocks.3.mlp.fc1.weight", "stdit3.t_block.1.weight")
    assert not any(beyond_depth(name, 1) for name in others)


def test_a_shallow_system_takes_the_first_blocks_of_a_deeper_one_and_all_else():
    deep, shallow = tensors(awake(1)), awake(2, SHALLOW)
    load_parts(shallow, deep)
    found = tensors(shallow)
    left = deep.keys() - found.keys()
    assert found.keys() < deep.keys() and all(torch.equal(found[name], deep[name]) for name in found)
    assert left and all(name.startswith(("stdit3.spatial_blocks.1.", "stdit3.temporal_blocks.1.")) for name in left)


def test_what_is_no_block_beyond_its_depth_is_refused():
    shallow, name = awake(2, SHALLOW), "stdit3.spatial_blocks.0.mlp.fc1.weight"
    for wrong in ({name: torch.zeros(3, 3)}, {"stdit3.more_blocks.1.weight": torch.zeros(3)}, {"idm.more.1.weight": torch.zeros(3)}):
        with pytest.raises(ValueError, match=f"checkpoint: {next(iter(wrong))} .* does not fit this system"):
            load_parts(shallow, wrong)


def test_a_run_of_fewer_blocks_goes_on_from_its_parents(inputs):
    """All that a fork takes is exact: the world model's first blocks, the action modules, and the moments of what learns on."""
    prior = checkpoint.load(trained(plan("pretrain", "pretrain", steps=4, seeds=[0]), inputs, 0) / "snapshots/4.safetensors")[0]
    warm = checkpoint.load(trained(plan("warmup", "warmup", (PRETRAIN,), steps=4), inputs) / "snapshots/4.safetensors")[0]
    child = plan("depth_1", "e2e", (PRETRAIN, WARMUP), start=4, steps=2, system=SHALLOW)
    run = SeedRun(child, 1, inputs, store.RunFolder(inputs.runs), Devices(), None)
    found, expected = tensors(run.system), prior | {name: tensor for name, tensor in warm.items() if "/" not in name}
    fresh = tensors(awake(1, SHALLOW))
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items() if name in expected)
    assert {name.partition(".")[0] for name in found.keys() - expected.keys()} <= {"fdm", "stdit3"}  # FDM and the fixed frequencies
    assert found.keys() == fresh.keys() and not any(".1." in name for name in found if "al_blocks" in name)
    state = run.trainer.optimizer.state
    kept = {name for name, p in run.trainer.parameters.items() if p in state and "exp_avg" in state[p]}
    assert kept == {name for name in warm if "/" not in name}
    after = checkpoint.load(trained(child, inputs) / "snapshots/2.safetensors")[0]
    assert after.keys() == {name for name in found if not name.startswith("fdm.") and not name.endswith("rope.freqs")}


@pytest.mark.parametrize("continued", [True, False])
def test_moments_are_kept_only_where_a_run_goes_on_from_them(inputs, continued):
    folder = train(plan("warmup", "warmup", steps=4, continued=continued), 1, inputs, silent)
    names = checkpoint.load(folder / "snapshots/4.safetensors")[0]
    assert any(name.startswith("optimizer/exp_avg/") for name in names) == continued


@pytest.mark.slow
def test_equal_runs_side_by_side_are_trained_once(inputs, tmp_path):
    """Two processes, and two names of the same run: one folder, in which only one of them may work."""
    plans = [plan(name, "lam", steps=6, snapshots=[3, 6], workers=2) for name in ("depth_6", "depth_12")]
    longer = plan("depth_20", "lam", steps=8, snapshots=[3, 6, 8], workers=2)
    runs.train_runs([*plans, longer], inputs)
    assert len(list((tmp_path / "scratch" / "runs").iterdir())) == 2
    six, twelve, twenty = (results(inputs.runs / name) for name in ("depth_6", "depth_12", "depth_20"))
    assert six == twelve and len(six) == 3 and len(twenty) == 4


def results(folder) -> dict[str, bytes]:
    """Snapshots and metrics."""
    files = [*folder.rglob("*.safetensors"), *folder.rglob("*.csv")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_the_longest_begin_first_and_each_equal_has_its_server():
    short, long = plan("a", "lam", steps=3), plan("b", "lam", steps=9)
    jobs = {("a", 1): short, ("a", 2): short, ("c", 1): short.model_copy(update={"run": "c"}), ("b", 1): long}
    assert runs.equals(jobs) == {("a", 1): ("a", 1), ("a", 2): ("a", 2), ("c", 1): ("a", 1), ("b", 1): ("b", 1)}
    assert runs.clips_of(long) == 3 * runs.clips_of(short)
