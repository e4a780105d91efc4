"""`cola doctor`: what it says of made-up workspaces at smoke scale."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
import yaml
from conftest import ROOT
from safetensors.torch import save_file

from cola_world.cli import main
from cola_world.data.lerobot_writer import write_dataset
from cola_world.doctor import report as doctor
from cola_world.doctor.estimate import Machine
from cola_world.models.system import System


@pytest.fixture
def workspace(tmp_path):
    """Dials, the smoke profile and the table of weights, and nothing else."""
    for name in ("params.yaml", "data/weights.yaml", "stages/profiles/smoke.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    change(tmp_path / "params.yaml", lambda dials: dials.update(scale="smoke"))
    return tmp_path


def change(path, edit):
    values = yaml.safe_load(path.read_text())
    edit(values)
    path.write_text(yaml.safe_dump(values))


def examine(workspace, **options) -> doctor.Report:
    return doctor.examine(workspace, **({"peak_tflops": 1.0, "memory_gb": 1.0} | options))


def load(report, run: str):
    return next(load for load in report.loads if load.plan.run == run)


def run_doctor(workspace, capsys, *options: str) -> tuple[int, str]:
    status = main(["doctor", "--root", str(workspace), "--peak-tflops", "1", "--memory-gb", "1", *options])
    return status, capsys.readouterr().out


def test_a_workspace_that_lacks_nothing_is_status_zero(workspace, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    status, out = run_doctor(workspace, capsys)
    assert status == 0 and "nothing is missing, and all of it fits" in out and "not measured" in out
    for word in ("stdit3", "17,908", "warmup", "e2e_from_2000", "clip cache", "corpora.sawyer", "corpora.two_arms"):
        assert word in out


def test_memory_is_counted_by_what_learns_and_by_the_clips_of_a_device(workspace):
    one, two = (load(examine(workspace, devices=devices), "warmup") for devices in (1, 2))
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in System(one.plan.system, 0).parts().items()}
    learning = parts["idm"] + parts["quantizer"] + parts["action_adaln"]
    assert one.fixed() == two.fixed() == {"weights": 4 * sum(parts.values()), "gradients": 4 * learning, "Adam": 8 * learning}
    assert (one.clips, two.clips) == (4, 2) and one.cost.kept / 2 == pytest.approx(two.cost.kept, rel=0.05)
    assert one.memory() == one.plan.workers * (4 * sum(parts.values()) + 12 * learning + one.cost.kept)


def test_what_does_not_fit_is_one_line_and_status_one(workspace, capsys, monkeypatch):
    need = max(load.memory() for load in examine(workspace).loads)
    assert not doctor.memory_faults(examine(workspace, memory_gb=(need + 1) / 1e9))
    [fault] = doctor.memory_faults(examine(workspace, memory_gb=(need - 1) / 1e9))
    assert fault.startswith("memory: e2e (vae) needs about") and "4 clips at a time; devices: {clips_at_a_time: 3} fits" in fault
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    status, out = run_doctor(workspace, capsys, "--memory-gb", "0.000001")
    lines = [line for line in out.splitlines() if line.startswith(("memory: ", "disk: "))]
    assert status == 1 and len(lines) == len({line.split(" needs ")[0] for line in lines}) == 11, "pretraining, FDM, 4 phases twice, disk"
    assert "memory: wm (vae) needs" in out and "not even one fits" in out


def test_files_that_are_there_already_take_no_further_disk(workspace, monkeypatch):
    need = sum(item.total for item in examine(workspace).disk.values())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=need - 1))
    assert len(doctor.disk_faults(examine(workspace))) == 1
    (workspace / "data" / "clips").mkdir()
    (workspace / "data" / "clips" / "frames.npy").write_bytes(b"0")
    assert doctor.disk_faults(examine(workspace)) == []


def test_disk_follows_the_profile(workspace):
    report = examine(workspace)
    frames, latents = 8 * 6 * 10, 4 * 4 * 4
    assert report.disk["clip cache"].bytes == frames * 18 * 18 * 3
    assert report.disk["latents"].bytes == 2 * frames * latents * 2
    # The warm-up's snapshots carry two moments; those of the fork at 8000 and of two more.
    warmup = load(report, "warmup")
    change(workspace / "params.yaml", lambda dials: dials.update(warmup_sweep=[2000]))
    fewer = examine(workspace)
    sweep = load(report, "e2e_from_4000")
    assert report.disk["snapshots"].bytes - fewer.disk["snapshots"].bytes == 4 * 4 * (3 * warmup.trained + sweep.trained)


def finish(workspace, run: str, cost: dict) -> None:
    (workspace / "runs" / run).mkdir(parents=True)
    (workspace / "runs" / run / "cost.json").write_text(json.dumps({"run": run, "seeds": {"5": cost}}))


def test_utilisation_is_measured_from_finished_runs_of_this_scale_and_device(workspace):
    report = examine(workspace)
    e2e = load(report, "e2e")
    assert report.measured is None
    cost = {"samples": 400, "wall_s": 2.0, "device": "cpu", "parameters": {"all": e2e.parameters}}
    finish(workspace, "e2e", cost)
    finish(workspace, "lam", cost | {"parameters": {"all": 1}})
    finish(workspace, "naive_random", cost | {"device": "cuda"})
    finish(workspace, "continuous_joint", cost)  # one seed: what ran beside it is not known
    # 100 steps of 4 clips in two seconds, beside one other seed, at a peak of 1 TFLOP/s.
    assert examine(workspace).measured == pytest.approx(100 * e2e.step_flops / (2 / e2e.at_once) / 1e12)


def test_hours_are_flops_over_peak_and_utilisation():
    machine = Machine(devices=4, memory=1, peak=1e12, cpu=False)
    assert machine.hours(3600 * 4e12, 0.5) == 2 and machine.hours(3600 * 4e12, 0.5, devices=1) == 8


def test_a_run_costs_its_steps_times_its_seeds(workspace):
    report = examine(workspace)
    warmup, alone = load(report, "warmup"), load(report, "continuous_warmup")
    assert warmup.flops == 8 * 4 * warmup.cost.flops  # 8000 paper steps at 0.001, four seeds
    assert alone.flops == 4 * 1 * alone.cost.flops


def test_weights_in_place_of_a_run_spare_it_and_must_be_here(workspace):
    profile, file = workspace / "stages" / "profiles" / "smoke.yaml", workspace / "stdit3.safetensors"
    change(profile, lambda values: values.update(weights={"stdit3": {"path": file.name, "sha256": 64 * "0"}}))
    report = examine(workspace)
    assert load(report, "pretrain").flops == 0
    assert [fault for fault in report.faults() if "weights.stdit3" in fault and "found none" in fault] == report.faults() != []
    save_file({"weight": torch.zeros(1)}, file)
    assert examine(workspace).faults() == []


def test_a_public_file_that_was_not_fetched_is_missing(workspace, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: None)
    change(workspace / "stages" / "profiles" / "smoke.yaml", lambda values: values.update(weights={"sdxl_vae": {}}))
    [fault] = examine(workspace).faults()
    assert fault.startswith("weights.sdxl_vae: stabilityai/sdxl-vae/diffusion_pytorch_model.safetensors (0.33 GB) is not here")
    change(workspace / "stages" / "profiles" / "smoke.yaml", lambda values: values.update(weights={"lpips_vgg": {}}))
    assert examine(workspace).faults() == ["weights.lpips_vgg: vgg16-397923af.pth is on no hub; give its path in the profile"]


def test_a_corpus_that_is_brought_must_be_here(workspace, capsys):
    own = {"group": "human", "path": "data/own/kitchen", "stride": 2}
    change(workspace / "params.yaml", lambda dials: dials["corpora"].update(own=own))
    status, out = run_doctor(workspace, capsys)
    assert status == 1 and any(line.startswith("corpora.own: ") and "not a LeRobot data set" in line for line in out.splitlines())
    episodes = ((torch.zeros(7, 16, 16, 3, dtype=torch.uint8).numpy(), torch.zeros(7, 2).numpy(), "task") for _ in range(2))
    write_dataset(workspace / "data" / "own" / "kitchen", episodes, fps=10, size=(16, 16), action_dim=2, robot="files")
    report = examine(workspace)
    assert report.faults() == [] and report.disk["clip cache"].bytes == (480 + 14) * 18 * 18 * 3


def test_a_simulator_that_is_none_is_told_with_the_nearest(workspace):
    change(workspace / "params.yaml", lambda dials: dials["corpora"]["fetch"].update(environment="fitch"))
    assert examine(workspace).faults() == ["corpora.fetch: 'fitch' is no simulator; nearest is 'fetch'"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--scale", "smokey"], "nearest is 'smoke'"),
        (["--root", "nowhere"], "no dials here"),
        (["--memory-gb", "-1"], "'-1' is no number above 0"),
        (["--mfu", "half"], "'half' is no number above 0"),
        (["--devices", "0"], "'0' is no whole number from 1 on"),
    ],
)
def test_an_error_of_the_user_is_one_line(workspace, capsys, options, line):
    with pytest.raises(SystemExit) as stop:
        raise SystemExit(main(["doctor", "--root", str(workspace), *options]))
    error = capsys.readouterr().err
    assert stop.value.code == 2 and line in error and error.count("\n") == 1
