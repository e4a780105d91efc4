"""A finished run exports to folders with a card that says what it is."""

import json
from pathlib import Path

import pytest
import torch
from caches import make, plan
from tiny import awake

from cola_world.inference import export
from cola_world.models.autoencoder import VAEConfig, build_autoencoder
from cola_world.training import checkpoint
from cola_world.training.plan import Parent
from cola_world.training.run import train
from cola_world.training.runs import collect
from cola_world.weights.hub import ActionWorldModel, Frames, LatentActionModel


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A warm-up and an e2e run that forked from it, both trained, with the plans that an export reads."""
    monkeypatch.setenv("COLA_SCRATCH", str(tmp_path / "scratch"))
    inputs = make(tmp_path)
    plans = tmp_path / "runs" / "plan"
    plans.mkdir(parents=True)
    pretrain = plan("pretrain", "pretrain", steps=2, seeds=[0])
    shared = Parent(run="pretrain", step=2, shared=True)
    warmup = plan("warmup", "warmup", (shared,), steps=4, snapshots=[2, 4])
    forked = plan("e2e", "e2e", (shared, Parent(run="warmup", step=4, shared=False)), start=4, steps=2)
    for a_plan in (pretrain, warmup, forked, plan("lam", "lam", steps=2)):
        (plans / f"{a_plan.run}.json").write_text(a_plan.model_dump_json())
        seed = a_plan.seeds[0]
        collect(a_plan, {seed: train(a_plan, seed, inputs, lambda done, total: None)}, inputs)
    vae = build_autoencoder(VAEConfig(channels=[8, 8, 8], groups=4))
    vae.save_pretrained(inputs.runs / "vae")
    (inputs.runs / "vae" / "latent_statistics.json").write_text(json.dumps({"mean": [0.0] * 4, "std": [1.0] * 4}))
    return tmp_path


def snapshot(workspace: Path, run: str, step: int, seed: int) -> dict[str, torch.Tensor]:
    return checkpoint.load(workspace / "runs" / run / "snapshots" / str(step) / f"seed{seed}.safetensors")[0]


def test_an_exported_run_holds_each_part_as_it_was_last_trained(workspace):
    made = export.export("warmup", 1, workspace / "out", workspace)
    assert [folder.name for folder in made] == ["lam", "world_model", "vae"]
    own, parent = snapshot(workspace, "warmup", 4, 1), snapshot(workspace, "pretrain", 2, 0)
    expected = {name: tensor for name, tensor in (parent | own).items() if "/" not in name}
    expected["stdit3.rope.freqs"] = awake().world_model.stdit3.rope.freqs  # it does not learn, and is in no snapshot
    lam, model = LatentActionModel.from_pretrained(made[0]), ActionWorldModel.from_pretrained(made[1])
    found = lam.state_dict() | model.state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)
    assert {"config.json", "diffusion_pytorch_model.safetensors", "latent_statistics.json"} == {f.name for f in made[2].iterdir()}


def test_the_card_of_an_exported_run_says_how_it_was_trained(workspace):
    lam, *_ = export.export("e2e", 1, workspace / "out", workspace)
    config = LatentActionModel.from_pretrained(lam).model_config
    assert config.frames == Frames(num_frames=3, size=18, crop=16)
    assert config.trained["steps"] == "2 of the paper's, 2 of the optimiser" and config.trained["scale"] == "smoke"
    assert config.trained["started from"] == "pretrain after 2 steps, warmup after 4 steps"
    rows = (workspace / "runs" / "e2e" / "metrics" / "seed1.csv").read_text().splitlines()
    last = [row for row in rows if row.startswith("6,flow_loss,")][0].split(",")[2]
    assert config.metrics["flow_loss"] == float(last) and not any(name.startswith("train/") for name in config.metrics)
    text = (lam / "README.md").read_text()
    assert "| data | arm 0.5, hand 0.5 |" in text and f"| flow_loss | {last} |" in text


def test_the_two_stage_lam_keeps_its_decoder_and_has_no_world_model(workspace):
    [folder] = export.export("lam", 1, workspace / "out", workspace)
    expected, found = snapshot(workspace, "lam", 2, 1), LatentActionModel.from_pretrained(folder).state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)
    assert any(name.startswith("fdm.") for name in found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("e3e", 1), "e3e: no finished run of this name below .*; there are: e2e, lam, pretrain, warmup"),
        (("pretrain", 0), "pretrain: it is trained on video alone"),
        (("warmup", 7), "seed7.safetensors does not exist"),
        (("warmup", 1, 3), "warmup: no snapshot after 3 steps; it has 2, 4"),
    ],
)
def test_what_cannot_be_exported_is_said_and_leaves_nothing(workspace, arguments, message):
    run, seed, *steps = arguments
    with pytest.raises(ValueError, match=message):
        export.export(run, seed, workspace / "out", workspace, *steps)
    assert not (workspace / "out").exists()


def test_nothing_is_overwritten(workspace):
    export.export("lam", 1, workspace / "out", workspace)
    before = (workspace / "out" / "lam" / "model.safetensors").stat().st_mtime_ns
    with pytest.raises(ValueError, match="lam: exists already"):
        export.export("lam", 1, workspace / "out", workspace)
    assert (workspace / "out" / "lam" / "model.safetensors").stat().st_mtime_ns == before
