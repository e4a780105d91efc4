"""A trained run is probed from its snapshots alone, and its rows are those that the results are made of."""

import csv
import json
import os
import queue
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from caches import make, plan
from tiny import CONFIG, CONTINUOUS

from cola_world.data.clips import ClipCache
from cola_world.evaluation import probe_runs
from cola_world.evaluation.corpus_pairs import splits
from cola_world.evaluation.probe_runs import ProbePlan, load_lam, probe_run, probe_snapshot, read_latents
from cola_world.evaluation.probing import ProbeConfig
from cola_world.evaluation.rows import COLUMNS
from cola_world.models.pixels import to_video
from cola_world.models.system import System
from cola_world.running import jobs
from cola_world.training import checkpoint
from cola_world.training.devices import load_parts
from cola_world.training.run import train
from cola_world.training.runs import collect

PROBE = ProbeConfig(steps=20, batch_size=8, test_pairs=10)
LINEAR = "linear, L1, 20 steps of 8, mean of 3 probes"


@pytest.fixture(params=["vq", "vae"])
def trained(request, tmp_path, monkeypatch):
    """A LAM of two snapshots, and where it lies."""
    monkeypatch.setenv("COLA_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setattr(jobs, "messages", queue.Queue(), raising=False)
    folders = make(tmp_path)
    run = plan("lam", "lam", steps=4, snapshots=[2, 4], log_every=2, system={"vq": CONFIG, "vae": CONTINUOUS}[request.param])
    collect(run, {1: train(run, 1, folders, lambda *_: None)}, folders)
    return ProbePlan(run=run, corpora=["arm", "hand"], probe=PROBE), folders


@pytest.mark.slow
def test_every_snapshot_and_corpus_has_finite_rows(trained, tmp_path):
    probe_plan, inputs = trained
    probe_run(probe_plan, inputs)
    with (inputs.runs / "probe/lam.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert {(row["snapshot"], row["corpus"], row["seed"]) for row in rows} == {(s, c, "1") for s in "24" for c in ("arm", "hand")}
    assert {"probe/l1", "probe/l1_median", "probe/skill", "probe/l1_gripper"} <= {row["metric"] for row in rows}
    assert np.isfinite([float(row["value"]) for row in rows]).all()
    assert {row["protocol"].partition(";")[0] for row in rows if row["snapshot"] == "2"} == {LINEAR, "ridge regression"}
    last = {row["protocol"] for row in rows if row["snapshot"] == "4"}
    assert last == {f"{how}; 30 training and 6 test pairs" for how in (LINEAR, "ridge regression", "quantile regression on 30 pairs")}


def test_the_latent_actions_are_those_of_the_system_that_was_trained(trained):
    probe_plan, inputs = trained
    run, cache = probe_plan.run, ClipCache.open(inputs.clips)
    split, _ = splits(cache, "arm", run.clips, ProbeConfig())
    found = read_latents(load_lam(run, inputs.runs, 4, seed=1), split)
    system = System(run.system, seed=5)
    load_parts(system, checkpoint.load(inputs.runs / "lam/snapshots/4/seed1.safetensors")[0])
    video = to_video(cache.frames[split.pairs.clips_NT][:, :, 1:17, 1:17])
    wanted = system.lam.latent_actions(video).z_BAMZ.flatten(2).flatten(0, 1)
    assert found.latents_NZ.shape == (30, 64)
    torch.testing.assert_close(found.latents_NZ, wanted, atol=1e-5, rtol=1e-4)
    np.testing.assert_array_equal(found.actions_ND, cache.actions[split.pairs.clips_NT[:, :-1]].reshape(30, 4))
    torch.testing.assert_close(found.change_N, (video.diff(dim=1).abs().mean((2, 3, 4)) + 1 / 255).log().flatten())


def test_steps_count_from_the_beginning_of_the_line(trained):
    probe_plan, inputs = trained
    later = probe_plan.model_copy(update={"run": probe_plan.run.model_copy(update={"start_step": 8})})
    assert {row["snapshot"] for row in probe_snapshot(later, inputs, 4, 1)} == {12}


def test_a_fault_names_run_snapshot_seed_and_corpus(trained):
    probe_plan, inputs = trained
    actions = np.load(inputs.clips / "actions.npy")
    actions[:, 1] = 0.5
    np.save(inputs.clips / "actions.npy", actions)
    with pytest.raises(ValueError, match=r"lam after 2 steps, seed 1, corpus 'arm': action dimension 1 \(y\) has no spread"):
        probe_snapshot(probe_plan, inputs, 2, 1)
    episodes = pd.read_parquet(inputs.clips / "episodes.parquet")
    episodes[episodes["split"] == "train"].to_parquet(inputs.clips / "episodes.parquet")
    with pytest.raises(ValueError, match="corpus 'arm': pairs: corpus 'arm' has no val episode"):
        probe_snapshot(probe_plan, inputs, 2, 1)


def killed(*arguments) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_lost_worker_is_one_line(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(probe_runs, "probe_snapshot", killed)
    with pytest.raises(ValueError, match="^a worker process was killed, perhaps for memory; run again"):
        probe_run(*trained)


def test_the_plan_is_read_as_it_was_written(trained):
    assert ProbePlan.model_validate_json(json.dumps(trained[0].model_dump())) == trained[0]
