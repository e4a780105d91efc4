"""Snapshots of runs are measured on every group, side by side, once; what was measured survives a kill."""

import csv
import json
import os
import queue
import signal

import pytest
import torch
from caches import make, plan

from cola_world.evaluation import predict_runs
from cola_world.evaluation.predict_runs import Group, PredictionPlan, decided_by, predict_run, rows_of
from cola_world.evaluation.prediction import PredictionConfig
from cola_world.evaluation.rows import COLUMNS
from cola_world.metrics.encoder import EncoderConfig, VideoEncoder, save_encoder
from cola_world.models.autoencoder import VAEConfig, build_autoencoder
from cola_world.models.pixels import unit_pixels
from cola_world.running import jobs
from cola_world.training import checkpoint
from cola_world.training.plan import Parent
from cola_world.training.run import train
from cola_world.training.runs import collect

NAMES, ENDS, WAYS = ("psnr", "ssim", "lpips_sim", "fvd_sim"), ("", "_low", "_high"), ("", "_guidance1", "_mean")
METRICS = [f"video/{name}{end}" for name in NAMES for end in ENDS]
MEASURED = [f"video/{name}{way}{end}" for way in WAYS for name in NAMES for end in ENDS] + [f"video/fvd_sim_grouped{way}" for way in WAYS]
COPIED = [f"{name}_copied" for name in (*METRICS[::3], "video/fvd_sim_grouped")]
GROUPS = {"oxe": Group(corpora=["arm"], trained=True), "libero": Group(corpora=["hand"], trained=False)}


@pytest.fixture
def measuring(tmp_path, monkeypatch):
    """A warm-up and an e2e run that forked from it, both trained for a few steps, as they are to be measured; and the inputs."""
    monkeypatch.setenv("COLA_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setattr(jobs, "messages", queue.Queue(), raising=False)
    folders = make(tmp_path)
    warmup = plan("warmup", "warmup", steps=4, workers=2)
    e2e = plan("e2e", "e2e", (Parent(run="warmup", step=4, shared=False),), start=4, steps=4, snapshots=[2, 4], workers=2)
    for run in (warmup, e2e):
        collect(run, {1: train(run, 1, folders, lambda *_: None)}, folders)
    torch.manual_seed(0)
    build_autoencoder(VAEConfig(channels=[8, 8, 8], groups=4)).save_pretrained(folders.vae)
    (folders.vae / "latent_statistics.json").write_text(json.dumps({"mean": [0.0] * 4, "std": [1.0] * 4}))
    save_encoder(VideoEncoder(EncoderConfig(channels=(4, 8), features=3)), folders.encoder)
    how = {"groups": GROUPS, "prediction": PredictionConfig(clips=6, steps=2, clips_at_a_time=4)}
    plans = [PredictionPlan(run=run, snapshots=run.snapshots, **how) for run in (warmup, e2e)]
    return plans, folders


def read(path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_snapshot_and_group_has_its_rows_and_a_killed_stage_goes_on(measuring, tmp_path):
    plans, inputs = measuring
    first = rows_of(plans[1], 2, 1, inputs)  # as far as it came before it was killed
    [kept] = (tmp_path / "scratch/predictions").iterdir()
    written = kept.stat().st_mtime_ns
    for own in plans:
        predict_run(own, inputs)
    rows = {name: read(inputs.runs / "evaluate" / f"{name}.csv") for name in ("warmup", "e2e")}
    assert all(tuple(row) == COLUMNS and row["run"] == name and row["seed"] == "1" for name in rows for row in rows[name])
    found = [(row["snapshot"], row["corpus"], row["metric"]) for row in rows["e2e"]]
    assert sorted(found) == sorted((s, c, m) for s in "68" for c in GROUPS for m in (*MEASURED, *COPIED))
    assert {row["snapshot"] for row in rows["warmup"]} == {"4"}
    assert kept.stat().st_mtime_ns == written and len(list(kept.parent.iterdir())) == 3
    assert [row for row in rows["e2e"] if row["snapshot"] == "6"] == [{name: str(row[name]) for name in COLUMNS} for row in first]


def test_values_lie_within_their_intervals_and_say_how_they_were_measured(measuring):
    plans, inputs = measuring
    rows = {(row["corpus"], row["metric"]): row for row in rows_of(plans[1], 4, 1, inputs)}
    for corpus in GROUPS:
        for metric in METRICS[::3]:
            low, value, high = (float(rows[corpus, metric + end]["value"]) for end in ("_low", "", "_high"))
            assert low <= value <= high and low < high
    protocol = rows["libero", "video/fvd_sim"]["protocol"]
    assert protocol.startswith("FVD-sim: 6 clips, frames 1-3 (1 given), 16x16 RGB in [0, 1]") and "encoder-sim" in protocol
    assert protocol.endswith("interval of 200 resamples of clips; hand (never trained on); 2 denoising steps, guidance 4")
    assert rows["oxe", "video/psnr"]["protocol"].endswith("interval of 1000 resamples of clips; arm; 2 denoising steps, guidance 4")


def test_beside_each_value_is_that_of_copying_the_given_frame(measuring):
    plans, inputs = measuring
    rows = {(row["corpus"], row["metric"]): row for row in rows_of(plans[1], 4, 1, inputs)}
    video = unit_pixels(predict_runs.heldout(plans[1], GROUPS["oxe"], inputs).video)
    expected = -10 * (video[:, :1] - video[:, 1:]).square().mean((2, 3, 4)).log10()
    assert float(rows["oxe", "video/psnr_copied"]["value"]) == pytest.approx(expected.mean().item(), rel=1e-4)
    assert rows["oxe", "video/psnr_copied"]["protocol"].endswith("dB of each frame; arm; the last given frame copied")


def test_a_lam_with_a_trained_fdm_is_measured_by_it_too(measuring, tmp_path):
    inputs, lam = measuring[1], plan("lam", "lam", steps=4)
    wm = plan("wm", "wm", (Parent(run="lam", step=4, shared=False),), steps=2)
    for run in (lam, wm):
        collect(run, {1: train(run, 1, inputs, lambda *_: None)}, inputs)
    own = PredictionPlan(run=wm, snapshots=[2], **measuring[0][1].model_dump(include={"groups", "prediction"}))
    rows = {(row["corpus"], row["metric"]): row for row in rows_of(own, 2, 1, inputs)}
    system = predict_runs.load_system(wm.system, wm.line(inputs.runs, 1, 2))
    video = unit_pixels(predict_runs.heldout(own, GROUPS["oxe"], inputs).video)
    actions = system.lam.latent_actions(video).z_BAMZ.flatten(2)
    error = system.lam.fdm.imagine(video[:, 0], actions) - video[:, 1:]
    expected = -10 * error.square().mean((2, 3, 4)).log10()
    assert float(rows["oxe", "video/psnr_fdm"]["value"]) == pytest.approx(expected.mean().item(), rel=1e-4)
    assert rows["oxe", "video/psnr_fdm"]["protocol"].endswith("arm; imagined by the FDM of the LAM")


def test_what_decides_the_values_decides_the_name_under_which_they_are_kept(measuring):
    plans, inputs = measuring
    own, name = plans[1], decided_by(plans[1], 4, 1, inputs)

    def changed(**changes) -> bool:
        return decided_by(own.model_copy(update=changes), 4, 1, inputs) != name

    how = own.prediction
    assert not changed(run=own.run.model_copy(update={"run": "e2e", "workers": 1}))
    assert not changed(prediction=how.model_copy(update={"clips_at_a_time": 1}))
    assert changed(prediction=how.model_copy(update={"guidance": 1.0})) and changed(prediction=how.model_copy(update={"clips": 4}))
    assert changed(groups={"oxe": GROUPS["oxe"]})
    assert decided_by(own, 2, 1, inputs) != name
    inputs.encoder.write_bytes(inputs.encoder.read_bytes() + b" ")
    assert decided_by(own, 4, 1, inputs) != name


@pytest.mark.slow
def test_every_seed_of_the_run_is_measured(measuring, tmp_path):
    plan, inputs = measuring[0][1], measuring[1]
    for path in inputs.runs.rglob("seed1.safetensors"):
        tensors, about = checkpoint.load(path)
        checkpoint.save(
            {name: 0.5 * tensor if tensor.is_floating_point() else tensor for name, tensor in tensors.items()},
            path.with_name("seed2.safetensors"),
            about,
        )
    several = plan.model_copy(update={"run": plan.run.model_copy(update={"seeds": [1, 2]})})
    predict_run(several, inputs)
    psnr = {
        (row["snapshot"], row["seed"], row["corpus"]): row["value"]
        for row in read(inputs.runs / "evaluate/e2e.csv")
        if row["metric"] == "video/psnr"
    }
    assert set(psnr) == {(s, seed, c) for s in "68" for seed in "12" for c in GROUPS}
    assert psnr["8", "1", "oxe"] != psnr["8", "2", "oxe"]


def test_the_parents_parts_count_too(measuring):
    plans, inputs = measuring
    before = decided_by(plans[1], 4, 1, inputs)
    path = inputs.runs / "warmup/snapshots/4/seed1.safetensors"
    tensors, about = checkpoint.load(path)
    checkpoint.save({name: tensor + 1 for name, tensor in tensors.items()}, path, about)
    assert decided_by(plans[1], 4, 1, inputs) != before


def test_a_snapshot_that_is_not_there_is_one_line(measuring):
    plans, inputs = measuring
    (inputs.runs / "e2e/snapshots/4/seed1.safetensors").unlink()
    with pytest.raises(ValueError, match="e2e/snapshots/4/seed1.safetensors does not exist; run the stage that writes it first"):
        rows_of(plans[1], 4, 1, inputs)


def test_a_model_that_has_lost_its_numbers_gives_no_rows(measuring, tmp_path):
    plans, inputs = measuring
    path = inputs.runs / "e2e/snapshots/4/seed1.safetensors"
    tensors, about = checkpoint.load(path)
    checkpoint.save({name: tensor * float("nan") for name, tensor in tensors.items()}, path, about)
    with pytest.raises(ValueError, match="e2e after 4 steps, seed 1, oxe: video: generated has values from nan to nan"):
        rows_of(plans[1], 4, 1, inputs)
    assert not (tmp_path / "scratch/predictions").exists()


def killed(*arguments) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_lost_worker_is_one_line(measuring, tmp_path, monkeypatch):
    plans, inputs = measuring
    monkeypatch.setattr(predict_runs, "rows_of", killed)
    with pytest.raises(ValueError, match="^a worker process was killed, perhaps for memory; run again"):
        predict_run(plans[1], inputs)


def test_the_plan_is_read_as_it_was_written(measuring):
    assert PredictionPlan.model_validate_json(json.dumps(measuring[0][1].model_dump())) == measuring[0][1]
