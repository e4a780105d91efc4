"""A saved model loads in one line to the same bits; a finished run exports to folders with a card that says what it is."""

import time
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from tiny import CONFIG, awake

from cola_world.weights import hub
from cola_world.weights.hub import ActionWorldModel, Frames, LatentActionModel, ModelConfig

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
    lam.idm.load_state_dict(system.lam.idm.state_dict())
    lam.quantizer.load_state_dict(system.lam.quantizer.state_dict())
    lam.save_pretrained(tmp_path)
    video = torch.rand(2, 3, 3, 16, 16)
    expected, found = system.lam.latent_actions(video), LatentActionModel.from_pretrained(tmp_path).latent_actions(video)
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
