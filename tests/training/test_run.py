"""Runs end with the same bits however often they were stopped; forks continue them; damage is refused."""

import pytest
from caches import make, plan
from tiny import CONFIGS

from cola_world.running.files import locked
from cola_world.training import checkpoint, run, store
from cola_world.training.plan import Parent
from cola_world.training.runs import collect


class Stopped(Exception):
    pass


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    monkeypatch.setenv("COLA_SCRATCH", str(tmp_path / "scratch"))
    return make(tmp_path)


def stop_after(steps: int):
    def progress(done: int, total: int) -> None:
        if done >= steps:
            raise Stopped

    return progress


def content(folder) -> dict[str, bytes]:
    files = [*(folder / "snapshots").glob("*"), folder / "metrics.csv"]
    return {file.name: file.read_bytes() for file in files}


@pytest.mark.parametrize(("phase", "bottleneck"), [("lam", "vq"), ("e2e", "vq"), ("e2e", "vae")])
def test_stopped_run_ends_with_the_same_bits(inputs, monkeypatch, tmp_path, phase, bottleneck):
    a_plan = plan("run", phase, system=CONFIGS[bottleneck])
    whole = content(run.train(a_plan, 1, inputs, lambda done, total: None))
    monkeypatch.setenv("COLA_SCRATCH", str(tmp_path / "other"))
    monkeypatch.setattr(run, "SAVE_EVERY_S", 0.0)
    for stop in (2, 5, 9):
        with pytest.raises(Stopped):
            run.train(a_plan, 1, inputs, stop_after(stop))
    resumed = content(run.train(a_plan, 1, inputs, lambda done, total: None))
    assert resumed == whole and set(whole) == {"12.safetensors", "metrics.csv"}


def test_finished_run_is_not_repeated(inputs):
    a_plan = plan("run", "lam")
    folder = run.train(a_plan, 1, inputs, lambda done, total: None)
    reported = []
    assert run.train(a_plan.model_copy(update={"run": "alias"}), 1, inputs, lambda *steps: reported.append(steps)) == folder
    assert reported == [(12, 12)]  # all at once, so that the time left of its fellows is right


FASTER = {"training": {"batch_size": 2, "learning_rate": 2e-3, "rise": 3}}


@pytest.mark.parametrize("change", [{"log_every": 6}, {"steps": 8, "snapshots": [8]}, FASTER])
def test_any_change_is_another_run(inputs, change):
    a_plan = plan("run", "lam")
    assert store.run_path(a_plan, 1, inputs) != store.run_path(plan("run", "lam", **change), 1, inputs)


def test_fork_of_a_warmup_equals_a_warmup_that_never_stopped(inputs):
    """Forking into the same phase must be exact: weights, optimiser moments, learning rate, data."""
    whole = plan("warmup", "warmup", steps=12, snapshots=[6, 12])
    folder = run.train(whole, 1, inputs, lambda done, total: None)
    collect(whole, {1: folder}, inputs)
    fork = plan("fork", "warmup", (Parent(run="warmup", step=6, shared=False),), start=6, steps=6, snapshots=[6])
    forked = run.train(fork, 1, inputs, lambda done, total: None)
    a, b = (checkpoint.load(path)[0] for path in (folder / "snapshots/12.safetensors", forked / "snapshots/6.safetensors"))
    assert a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)


def test_frozen_world_model_is_not_in_a_warmup_snapshot(inputs):
    folder = run.train(plan("warmup", "warmup"), 1, inputs, lambda done, total: None)
    names = {name.split(".")[0] for name in checkpoint.load(folder / "snapshots/12.safetensors")[0] if "/" not in name}
    assert names == {"idm", "quantizer", "action_adaln"}


def trained(a_plan, inputs):
    """Run the plan and hand its outputs to later ones -> its folder in the store."""
    folder = run.train(a_plan, 1, inputs, lambda done, total: None)
    collect(a_plan, {1: folder}, inputs)
    return folder


def metrics(folder, name: str) -> list[str]:
    rows = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    return [value for _, metric, value in rows if metric == name]


def test_continuous_two_stages(inputs):
    """The world model learns from the frozen LAM of the first stage, whose health stays what it was."""
    lam = trained(plan("lam", "lam", system=CONFIGS["vae"]), inputs)
    names = {name.split(".")[0] for name in checkpoint.load(lam / "snapshots/12.safetensors")[0]}
    assert names == {"idm", "quantizer", "fdm"}
    parents = (Parent(run="lam", step=12, shared=False),)
    world = trained(plan("continuous_2stage", "wm", parents, system=CONFIGS["vae"]), inputs)
    assert set(metrics(world, "latent/kl")) == {metrics(lam, "latent/kl")[-1]}
    assert len(set(metrics(world, "flow_loss"))) > 1 and not metrics(world, "codebook/utilization")


def test_continuous_fork_of_a_warmup_is_exact(inputs):
    whole = trained(plan("warmup", "warmup", system=CONFIGS["vae"], snapshots=[6, 12]), inputs)
    parents = (Parent(run="warmup", step=6, shared=False),)
    forked = trained(plan("fork", "warmup", parents, start=6, steps=6, snapshots=[6], system=CONFIGS["vae"]), inputs)
    a, b = (checkpoint.load(path)[0] for path in (whole / "snapshots/12.safetensors", forked / "snapshots/6.safetensors"))
    assert a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)


def test_codes_do_not_load_into_a_continuous_run(inputs):
    trained(plan("lam", "lam"), inputs)
    joint = plan("joint", "e2e", (Parent(run="lam", step=12, shared=False),), system=CONFIGS["vae"])
    with pytest.raises(ValueError, match=r"quantizer.codebook \(32, 32\) does not fit this system"):
        run.train(joint, 1, inputs, lambda done, total: None)


def test_second_process_on_a_run_is_refused(tmp_path):
    with locked(tmp_path), pytest.raises(ValueError, match="in use by process"), locked(tmp_path):
        pass


def test_missing_parent_is_one_clear_error(inputs):
    fork = plan("fork", "e2e", (Parent(run="warmup", step=6, shared=False),), start=6)
    with pytest.raises(ValueError, match="seed1.safetensors does not exist; run the stage that writes it first"):
        run.train(fork, 1, inputs, lambda done, total: None)


def test_nan_ends_the_run_with_one_clear_line(inputs):
    with pytest.raises(ValueError, match=r"run: .* is nan at step .*; try a lower learning_rate"):
        run.train(plan("run", "lam", training={"batch_size": 2, "learning_rate": 1e30}), 1, inputs, lambda done, total: None)


def test_the_average_of_the_weights_follows_them_and_is_resumed(inputs, monkeypatch, tmp_path):
    training = {"batch_size": 2, "learning_rate": 1e-3, "rise": 3, "ema": 0.5}
    a_plan = plan("run", "e2e", training=training)
    whole = run.train(a_plan, 1, inputs, lambda done, total: None)
    tensors, _ = checkpoint.load(whole / "snapshots" / "12.safetensors")
    weights = {name for name in tensors if not name.startswith("ema/")}
    assert {name for name in tensors if name.startswith("ema/")} == {f"ema/{name}" for name in weights}
    name = "stdit3.final_layer.linear.weight"
    assert 0 < (tensors[name] - tensors[f"ema/{name}"]).abs().max() < 12 * 1e-3
    monkeypatch.setenv("COLA_SCRATCH", str(tmp_path / "other"))
    monkeypatch.setattr(run, "SAVE_EVERY_S", 0.0)
    with pytest.raises(Stopped):
        run.train(a_plan, 1, inputs, stop_after(5))
    assert content(run.train(a_plan, 1, inputs, lambda done, total: None)) == content(whole)
