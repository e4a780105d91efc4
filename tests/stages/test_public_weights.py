"""Stages that fetch public weights, or start from them in the place of training."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from caches import make
from caches import plan as run_plan
from conftest import ROOT
from dvc.repo import Repo
from public_files import ROW, sha256
from safetensors.torch import save_file

from cola_world.models.autoencoder import VAEConfig, build_autoencoder
from cola_world.models.vae import FrameVAE
from stages import entry

SHAPE = VAEConfig(channels=[8, 8], groups=4)


def stage(name: str, workspace: Path, monkeypatch, *arguments: str) -> None:
    """`python -m stages.<name>` in this process."""
    monkeypatch.chdir(workspace)
    monkeypatch.setattr(entry, "die_with_parent", lambda: None)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    runpy.run_module(f"stages.{name}", run_name="__main__")


@pytest.fixture
def plans(tmp_path):
    (tmp_path / "runs" / "plan").mkdir(parents=True)
    return tmp_path / "runs" / "plan"


def test_the_stage_has_nothing_to_do_where_no_weights_are_named(tmp_path, plans, monkeypatch, capsys):
    (plans / "weights.json").write_text("{}")
    stage("weights", tmp_path, monkeypatch)
    assert "nothing to do" in capsys.readouterr().out
    assert json.loads((tmp_path / "data" / "weights" / "verified.json").read_text()) == {}


def test_the_stage_records_what_it_verified_and_pretrain_starts_from_it(good, tmp_path, plans, monkeypatch):
    rows = {"stdit3": ROW | {"path": str(good), "sha256": sha256(good)}}
    (plans / "weights.json").write_text(json.dumps(rows))
    stage("weights", tmp_path, monkeypatch)
    facts = json.loads((tmp_path / "data" / "weights" / "verified.json").read_text())["stdit3"]
    assert facts["path"] == str(good) and facts["sha256"] == sha256(good) and facts["revision"] == "0" * 40
    pretrain = run_plan("pretrain", "pretrain", steps=12, seeds=[0]).model_dump() | {"public": rows}
    (plans / "pretrain.json").write_text(json.dumps(pretrain))
    stage("train", tmp_path, monkeypatch, "pretrain")
    assert (tmp_path / "runs" / "pretrain" / "snapshots" / "12" / "seed0.safetensors").is_file()


@pytest.mark.parametrize("name", ["weights", "pretrain"])
def test_a_wrong_file_ends_the_stage_with_one_line(good, tmp_path, plans, monkeypatch, name):
    rows = {"stdit3": ROW | {"path": str(good), "sha256": "0" * 64}}
    pretrain = run_plan("pretrain", "pretrain", seeds=[0]).model_dump() | {"public": rows}
    (plans / f"{name}.json").write_text(json.dumps(rows if name == "weights" else pretrain))
    with pytest.raises(SystemExit) as end:
        stage("weights", tmp_path, monkeypatch) if name == "weights" else stage("train", tmp_path, monkeypatch, name)
    said = end.value.code.removeprefix(f"{name}: ")
    assert said.startswith(f"weights.stdit3: {good}: expected sha256 {'0' * 64}, found") and "\n" not in said
    assert not (tmp_path / "data").exists() and not (tmp_path / "runs" / "pretrain").exists()


def test_the_vae_stage_takes_the_public_file_and_measures_its_latents(tmp_path, plans, monkeypatch):
    make(tmp_path)
    torch.manual_seed(1)
    public = build_autoencoder(SHAPE).state_dict()
    save_file(public, tmp_path / "vae.safetensors")
    training = {"model": SHAPE.model_dump(), "steps": 1, "batch_size": 2, "learning_rate": 1e-3}
    row = ROW | {"path": str(tmp_path / "vae.safetensors"), "replaces": "vae"}
    (plans / "vae.json").write_text(json.dumps({"vae": training, "crop": 16, "views": 2, "public": {"sdxl_vae": row}}))
    stage("vae", tmp_path, monkeypatch)
    model = FrameVAE.load(tmp_path / "runs" / "vae")
    assert all(torch.equal(value, public[name]) for name, value in model.autoencoder.state_dict().items())
    assert model.mean_C11.abs().sum() > 0 and not torch.equal(model.std_C11, torch.ones_like(model.std_C11))


def test_nothing_of_the_pipeline_waits_for_the_weights_stage():
    with Repo(str(ROOT)) as repo:
        everything = {stage.name for stage in repo.stage.collect("dvc.yaml", with_deps=True)}
        alone = {stage.name for stage in repo.stage.collect("pipelines/data/dvc.yaml:weights", with_deps=True)}
    assert "from_nothing@pretrain" in everything and "weights" not in everything
    assert alone == {"plan", "weights"}
