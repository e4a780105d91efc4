"""The public STDiT3, whole or in shards, becomes this workspace's without its text path."""

import json
from pathlib import Path

import pytest
import torch
from caches import plan as run_plan
from public_files import row, sha256, write_public
from safetensors.torch import load_file, save_file
from tiny import CONFIG

from cola_world.models.system import System
from cola_world.running.folders import Folders
from cola_world.training import checkpoint
from cola_world.training.devices import load_parts
from cola_world.training.public_prior import take_public
from cola_world.weights.public import WeightsError, obtain
from cola_world.weights.stdit3 import public_stdit3


def test_public_names_fit_and_the_text_path_is_dropped(tmp_path):
    expected = write_public(tmp_path / "a.safetensors")
    found = public_stdit3(tmp_path / "a.safetensors", CONFIG.stdit3)
    assert equal(found.tensors, expected)
    assert str(found).endswith(f"in {len(expected)} tensors; dropped y_embedder 12 in 1 tensors, cross_attn 4 in 1 tensors")


def equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def split(path: Path, shards: int, **again: torch.Tensor) -> Path:
    """The file's tensors dealt to shards beside it, `again` in each of them -> their index."""
    tensors = load_file(path)
    weight_map = {name: f"shard-{number % shards}.safetensors" for number, name in enumerate(sorted(tensors))}
    for shard in set(weight_map.values()):
        save_file({name: tensors[name] for name, own in weight_map.items() if own == shard} | again, path.with_name(shard))
    index = path.with_name("model.safetensors.index.json")
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


def test_shards_are_the_whole(good):
    assert equal(public_stdit3(split(good, 3), CONFIG.stdit3).tensors, public_stdit3(good, CONFIG.stdit3).tensors)


def test_an_index_is_obtained_with_its_shards(good, tmp_path):
    index = split(good, 2)
    assert obtain("stdit3", row(path=str(index)), tmp_path) == index
    (tmp_path / "shard-1.safetensors").write_bytes(b"short")
    with pytest.raises(WeightsError, match=r"shard-1.safetensors: expected safetensors, found a damaged or other file"):
        obtain("stdit3", row(path=str(index)), tmp_path)
    (tmp_path / "shard-1.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"shard-1.safetensors: expected a shard that .*index.json names, found none; bring all shards"):
        obtain("stdit3", row(path=str(index)), tmp_path)


def test_an_index_that_is_none_is_refused(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text("{}")
    with pytest.raises(WeightsError, match="expected a JSON index with a weight_map, found something else"):
        obtain("stdit3", row(path=str(index)), tmp_path)


def test_a_tensor_in_two_shards_is_refused(good):
    with pytest.raises(WeightsError, match=r"shard-1.safetensors: rope.freqs: expected once, found in another shard as well"):
        public_stdit3(split(good, 2, **{"rope.freqs": torch.zeros(8)}), CONFIG.stdit3)


def test_a_file_of_another_size_is_refused(good):
    with pytest.raises(WeightsError, match=r"final_layer.linear.weight: expected \(32, 64\), found \(32, 32\)"):
        public_stdit3(good, CONFIG.stdit3.model_copy(update={"width": 64}))


def test_a_file_with_one_tensor_too_many_is_refused(tmp_path):
    write_public(tmp_path / "a.safetensors", other=torch.zeros(2))
    with pytest.raises(WeightsError, match=r"other: expected none, found \(2,\)"):
        public_stdit3(tmp_path / "a.safetensors", CONFIG.stdit3)


def test_public_weights_stand_where_the_trained_run_would(good, tmp_path, capsys):
    take_public(run_plan("pretrain", "pretrain", steps=12, seeds=[0], public={"stdit3": row(path=str(good))}), Folders(tmp_path))
    said = capsys.readouterr().out
    assert "dropped y_embedder 12 in 1 tensors" in said and "added, to be trained from scratch: action_adaln " in said
    about = json.loads((tmp_path / "runs" / "pretrain" / "run.json").read_text())
    assert about["weights"] == {
        "repository": "someone/model", "file": "model.safetensors", "revision": "0" * 40, "licence": None,
        "sha256": sha256(good), "size": good.stat().st_size,
    }  # fmt: skip
    tensors = checkpoint.load(tmp_path / "runs" / "pretrain" / "snapshots" / "12" / "seed0.safetensors")[0]
    system = System(CONFIG, 1)
    load_parts(system, tensors)
    public = load_file(good)
    assert all(torch.equal(value, public[name]) for name, value in system.world_model.stdit3.named_parameters())
