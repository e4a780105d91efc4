"""A saved model loads in one line to the same bits; a finished run exports to folders with a card that says what it is."""

import json
import time
from pathlib import Path

import huggingface_hub
import pytest
import torch
from caches import make, plan
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from tiny import CONFIG, awake

from cola_world import export, hub
from cola_world.hub import ActionWorldModel, Frames, LatentActionModel, ModelConfig
from cola_world.models.vae import VAEConfig, build_autoencoder
from cola_world.plan import Parent
from cola_world.training import checkpoint
from cola_world.training.pool import collect
from cola_world.training.run import run_seed

KINDS = [LatentActionModel, ActionWorldModel]


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_loads_to_the_same_bits(kind, tmp_path):
    torch.manual_seed(3)
    model = kind(ModelConfig(system=CONFIG, fdm=True, frames=Frames(num_frames=3, size=18, crop=16)))
    model.save_pretrained(tmp_path / "model")
    loaded = kind.from_pretrained(tmp_path / "model")
    assert same(model, loaded) and loaded.model_config == model.model_config and not loaded.training
    assert {file.name for file in (tmp_path / "model").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    loaded.save_pretrained(tmp_path / "again")
    for name in ("config.json", "model.safetensors", "README.md"):
        assert (tmp_path / "model" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_loaded_lam_gives_the_actions_that_training_saw(tmp_path):
    system, lam = awake(), LatentActionModel(ModelConfig(system=CONFIG))
    lam.idm.load_state_dict(system.idm.state_dict())
    lam.quantizer.load_state_dict(system.quantizer.state_dict())
    lam.save_pretrained(tmp_path)
    video = torch.rand(2, 3, 3, 16, 16)
    expected, found = system.latent_actions(video), LatentActionModel.from_pretrained(tmp_path).latent_actions(video)
    assert torch.equal(expected.indices_BAM, found.indices_BAM) and torch.equal(expected.z_BAMZ, found.z_BAMZ)


def test_a_loaded_world_model_samples_the_same_video(tmp_path):
    system, model = awake(), ActionWorldModel(ModelConfig(system=CONFIG))
    model.load_state_dict(system.world_model.state_dict())
    model.save_pretrained(tmp_path)
    context, actions = torch.randn(1, 1, 4, 4, 4), torch.randn(1, 2, 64)
    loaded = ActionWorldModel.from_pretrained(tmp_path)
    videos = [m.sample(context, actions, torch.Generator().manual_seed(0)) for m in (system.world_model, loaded)]
    assert torch.equal(*videos)


def test_the_card_tells_what_is_known_and_what_is_not(tmp_path):
    system = {"run": "e2e, phase e2e", "seed": 1}
    config = ModelConfig(system=CONFIG, trained=system, metrics={"flow_loss": 0.25})
    ActionWorldModel(config).save_pretrained(tmp_path / "told")
    LatentActionModel(ModelConfig(system=CONFIG)).save_pretrained(tmp_path / "bare")
    card = ModelCard.load(tmp_path / "told" / "README.md")
    assert card.data.license == "mit" and card.data.library_name == "cola-world" and "world-model" in card.data.tags
    count = sum(p.numel() for p in ActionWorldModel(config).parameters())
    for line in (f"| total | {count:,} |", "| run | e2e, phase e2e |", "| flow_loss | 0.25 |"):
        assert line in card.text.splitlines()
    assert 'ActionWorldModel.from_pretrained("this folder")' in card.text
    bare = ModelCard.load(tmp_path / "bare" / "README.md").text
    assert "Nothing is recorded of it." in bare and "None are given." in bare


def saved(folder: Path) -> Path:
    LatentActionModel(ModelConfig(system=CONFIG)).save_pretrained(folder)
    return folder / "model.safetensors"


def test_weights_of_another_model_are_refused_not_skipped(tmp_path):
    file = saved(tmp_path / "lam")
    tensors = load_file(file)
    for wrong in ({k: v for k, v in tensors.items() if k != "quantizer.codebook"}, tensors | {"other": torch.zeros(1)}):
        save_file(wrong, file)
        with pytest.raises(ValueError, match="expected the weights of LatentActionModel, found other") as error:
            hub.load(LatentActionModel, str(tmp_path / "lam"))
        assert "\n" not in str(error.value)


def test_a_truncated_or_missing_file_is_one_line(tmp_path):
    file = saved(tmp_path / "lam")
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(ValueError, match="model.safetensors: expected the weights of LatentActionModel"):
        hub.load(LatentActionModel, str(tmp_path / "lam"))
    file.unlink()
    with pytest.raises(ValueError, match="model.safetensors: expected the weights of LatentActionModel"):
        hub.load(LatentActionModel, str(tmp_path / "lam"))


def test_only_safetensors_are_read(tmp_path):
    file = saved(tmp_path / "lam")
    torch.save(load_file(file), tmp_path / "lam" / "pytorch_model.bin")
    file.unlink()
    with pytest.raises(ValueError, match="model.safetensors"):
        LatentActionModel.from_pretrained(tmp_path / "lam")


def test_a_folder_without_or_with_another_config_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: expected config.json, found none"):
        hub.load(LatentActionModel, str(tmp_path / "empty"))
    saved(tmp_path / "lam")
    (tmp_path / "lam" / "config.json").write_text('{"depth": 28}')
    with pytest.raises(ValueError, match="config.json is not that of LatentActionModel"):
        hub.load(LatentActionModel, str(tmp_path / "lam"))
    with pytest.raises(ValueError, match="none: expected a folder, found none"):
        hub.load(LatentActionModel, str(tmp_path / "none"))


def test_a_hub_that_does_not_answer_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(ValueError, match="someone/lam: neither a folder here nor a model that the hub gave") as error:
        hub.load(LatentActionModel, "someone/lam")
    assert "\n" not in str(error.value)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A warm-up and an e2e run that forked from it, both trained, with the plans that an export reads."""
    monkeypatch.setenv("COLA_SCRATCH", str(tmp_path / "scratch"))
    inputs = make(tmp_path)
    plans = tmp_path / "runs" / "plan"
    plans.mkdir(parents=True)
    (plans / "clips.json").write_text('{"size": 18}')
    (plans / "latents.json").write_text('{"crop": 16}')
    pretrain = plan("pretrain", "pretrain", steps=2, seeds=[0])
    shared = Parent(run="pretrain", step=2, shared=True)
    warmup = plan("warmup", "warmup", (shared,), steps=4, snapshots=[2, 4])
    forked = plan("e2e", "e2e", (shared, Parent(run="warmup", step=4, shared=False)), start=4, steps=2)
    for a_plan in (pretrain, warmup, forked, plan("lam", "lam", steps=2)):
        (plans / f"{a_plan.run}.json").write_text(a_plan.model_dump_json())
        seed = a_plan.seeds[0]
        collect(a_plan, {seed: run_seed(a_plan, seed, inputs, lambda done, total: None)}, inputs, inputs.runs / a_plan.run)
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
