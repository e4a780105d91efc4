"""What may go wrong while a run trains: one clear line each, and nothing that was saved is lost."""

import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time

import pytest
import torch
from caches import make, plan
from safetensors import safe_open

from cola_world.training import checkpoint, run, runs
from cola_world.training.loop import Trainer


class Stopped(Exception):
    pass


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    monkeypatch.setenv("COLA_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setattr(run, "SAVE_EVERY_S", 0.0)
    return make(tmp_path)


def stop_at(step: int):
    def progress(done: int, total: int) -> None:
        if done == step:
            raise Stopped

    return progress


def go_on(done: int, total: int) -> None:
    return


def stopped(inputs, tmp_path, step: int):
    """A run that was killed after `step`, and its folder."""
    with pytest.raises(Stopped):
        run.train(plan("run", "e2e"), 1, inputs, stop_at(step))
    [folder] = (tmp_path / "scratch" / "runs").iterdir()
    return folder


def result(folder) -> bytes:
    return (folder / "snapshots" / "12.safetensors").read_bytes() + (folder / "metrics.csv").read_bytes()


@pytest.fixture
def undisturbed(inputs, tmp_path, monkeypatch) -> bytes:
    monkeypatch.setenv("COLA_SCRATCH", str(tmp_path / "undisturbed"))
    whole = result(run.train(plan("run", "e2e"), 1, inputs, go_on))
    monkeypatch.setenv("COLA_SCRATCH", str(tmp_path / "scratch"))
    return whole


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path) -> None:
    """One bit of the last tensor."""
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip])
def test_a_damaged_state_falls_back_to_the_one_before(inputs, undisturbed, tmp_path, capsys, damage):
    folder = stopped(inputs, tmp_path, 7)
    damage(folder / "state.safetensors")
    assert result(run.train(plan("run", "e2e"), 1, inputs, go_on)) == undisturbed
    said = capsys.readouterr().err
    assert "state.safetensors is damaged" in said and "going on from what was saved before it" in said


def test_without_a_whole_state_a_run_begins_anew(inputs, undisturbed, tmp_path):
    folder = stopped(inputs, tmp_path, 7)
    for name in ("state", "before"):
        cut(folder / f"{name}.safetensors")
    assert result(run.train(plan("run", "e2e"), 1, inputs, go_on)) == undisturbed


def test_a_state_of_another_run_is_refused(inputs, tmp_path):
    folder = stopped(inputs, tmp_path, 5)
    tensors, progress = checkpoint.load(folder / "state.safetensors")
    checkpoint.save(tensors, folder / "state.safetensors", progress | {"fingerprint": "of another"})
    with pytest.raises(ValueError, match="its state is that of of another, made with other settings, inputs or code; remove the folder"):
        run.train(plan("run", "e2e"), 1, inputs, go_on)


def test_lost_numbers_end_the_run_and_are_never_saved(inputs, undisturbed, tmp_path, monkeypatch):
    step = Trainer.train_step

    def poisoned(trainer):
        losses = step(trainer)
        if trainer.step == 6:
            with torch.no_grad():
                next(iter(trainer.parameters.values())).fill_(float("nan"))
        return losses

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", poisoned)
        with pytest.raises(ValueError, match=r"^run: .* is nan at .*; try a lower learning_rate$"):
            run.train(plan("run", "e2e"), 1, inputs, go_on)
    [folder] = (tmp_path / "scratch" / "runs").iterdir()
    kept = [path for name in ("state", "before") if (path := folder / f"{name}.safetensors").exists()]
    assert any(all(tensor.isfinite().all() for tensor in checkpoint.load(path)[0].values()) for path in kept)


def test_a_second_process_is_turned_away(inputs, tmp_path):
    def second(done: int, total: int) -> None:
        with pytest.raises(ValueError, match=rf"is in use by process {os.getpid()}; wait for it or stop it"):
            run.train(plan("run", "e2e"), 1, inputs, go_on)
        raise Stopped

    with pytest.raises(Stopped):
        run.train(plan("run", "e2e"), 1, inputs, second)


def killed(*arguments) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_lost_worker_is_one_line(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "train_one", killed)
    with pytest.raises(ValueError, match="^a worker process was killed, perhaps for memory; run again"):
        runs.train_runs([plan("run", "e2e")], inputs)


def test_a_checkpoint_carries_the_checksum_of_its_tensors(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.save({"b": torch.ones(3), "a": torch.zeros(2, 2, dtype=torch.int64)}, path, {"step": 3})
    with safe_open(path, framework="pt") as file:
        assert len(json.loads(file.metadata()["metadata"])["sha256"]) == 64
    assert checkpoint.load(path)[1] == {"step": 3}


# A worker that saves its state ten times a second, so that a kill may also come while it saves.
WORKER = "from cola_world.training import run; run.SAVE_EVERY_S = 0.1; run.main()"
KILLS = 20


def worker(a_plan, inputs, file, scratch, **options) -> subprocess.Popen:
    file.write_text(a_plan.model_dump_json())
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "COLA_SCRATCH": str(scratch)}
    command = [sys.executable, "-c", WORKER, str(file), "--seed", "1", "--root", str(inputs.root)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, **options)


def small_files() -> None:
    """No file of the process may grow larger: writing fails as on a full disk, in the middle of a file."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_costs_nothing(inputs, undisturbed, tmp_path):
    scratch = tmp_path / "scratch"
    folder = stopped(inputs, tmp_path, 4)
    kept = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    process = worker(plan("run", "e2e"), inputs, tmp_path / "plan.json", scratch, preexec_fn=small_files)
    _, said = process.communicate()
    assert process.returncode == 1 and "Traceback" not in said
    assert re.fullmatch(r"run: .*safetensors: cannot be written \(.*File too large.*\); make room and run again, .*", said.splitlines()[-1])
    left = {path.read_bytes() for path in folder.glob("*.safetensors")}
    assert left and left <= set(kept.values()) and not list(folder.rglob("*.partial"))
    assert result(run.train(plan("run", "e2e"), 1, inputs, go_on)) == undisturbed


@pytest.mark.slow
def test_killed_at_twenty_moments_it_ends_with_the_same_bits(inputs, tmp_path, monkeypatch):
    a_plan = plan("run", "e2e", steps=600, log_every=100)
    monkeypatch.setenv("COLA_SCRATCH", str(tmp_path / "undisturbed"))
    torch.set_num_threads(1)
    whole = run.train(a_plan, 1, inputs, go_on)
    moments, killed_at_work, scratch = random.Random(0), 0, tmp_path / "scratch"
    for _ in range(KILLS):
        process = worker(a_plan, inputs, tmp_path / "plan.json", scratch)
        # From the first line of progress on, up to about a third of the run.
        process.stderr.readline()
        time.sleep(moments.uniform(0, 1.0))
        process.kill()
        process.wait()
        killed_at_work += not any(scratch.rglob("done.json"))
    assert killed_at_work >= 3
    ended = worker(a_plan, inputs, tmp_path / "plan.json", scratch)
    assert ended.wait() == 0, ended.stderr.read()
    [folder] = (scratch / "runs").iterdir()
    for name in ("snapshots/600.safetensors", "metrics.csv"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    assert not list(folder.glob("*state*")) and not list(folder.glob("*before*"))
    spent = json.loads((folder / "done.json").read_text())
    assert spent["attempts"] > killed_at_work and spent["steps"] >= 600 and spent["outcome"] == "done"
