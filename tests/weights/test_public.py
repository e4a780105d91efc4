"""Public weights are verified before use, and a wrong, truncated, unreachable or code-running file is one clear line."""

import time
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
import yaml
from conftest import ROOT
from huggingface_hub.errors import RemoteEntryNotFoundError
from public_files import ROW, row, sha256
from safetensors.torch import load_file, save_file

from cola_world.models.autoencoder import VAEConfig, build_autoencoder, read_sdxl
from cola_world.weights.public import Brought, WeightsError, obtain, read_table

TABLE = read_table(ROOT / "data" / "weights.yaml")
SHAPE = VAEConfig(channels=[8, 8], groups=4)


class RunsCode:
    """Unpickling this would make a folder."""

    def __init__(self, folder: Path):
        self.folder = str(folder)

    def __reduce__(self):
        import os

        return os.mkdir, (self.folder,)


def test_every_row_names_its_file_and_says_what_is_unknown():
    brought = {name for name, entry in TABLE.items() if entry.revision is None}
    assert {"stdit3", "sdxl_vae", "opensora_vae", "pixart_vae", "i3d", "clip"} == set(TABLE) - brought
    assert brought == {"lpips_alex", "lpips_vgg"} and all(TABLE[name].sha256 for name in brought)
    assert all(len(entry.revision) == 40 for name, entry in TABLE.items() if name not in brought)
    assert TABLE["stdit3"].replaces == "pretrain" and TABLE["sdxl_vae"].replaces == "vae" and TABLE["i3d"].licence is None


def test_a_wrong_row_is_named(tmp_path):
    table = tmp_path / "weights.yaml"
    table.write_text(yaml.safe_dump({"stdit3": ROW | {"sha256": "abc"}}))
    with pytest.raises(ValueError, match=r"weights.yaml: sha256: .*found 'abc'"):
        read_table(table)


def test_the_hub_gives_a_file_that_is_verified(good, tmp_path, monkeypatch):
    asked = []

    def hub(repository, file, revision):
        asked.append((repository, file, revision))
        return str(good)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub)
    entry = row(size=good.stat().st_size, sha256=sha256(good))
    assert obtain("stdit3", entry, tmp_path / "out") == good
    assert asked == [("someone/model", "model.safetensors", "0" * 40)]
    assert not (tmp_path / "out").exists()


def test_an_unreachable_hub_is_one_line_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(WeightsError) as error:
        obtain("stdit3", row(), tmp_path / "out")
    message = str(error.value)
    assert "weights.stdit3: someone/model/model.safetensors at 0000000000: expected a download, found an error (" in message
    assert message.endswith("or bring it: weights: {stdit3: {path: ...}}") and "\n" not in message
    assert not (tmp_path / "out").exists() and not list(tmp_path.rglob("*.safetensors"))


def test_a_file_that_the_hub_does_not_have_is_told_apart(tmp_path, monkeypatch):
    def hub(repository, file, revision):
        raise RemoteEntryNotFoundError("404", response=SimpleNamespace(headers={}, request=None, status_code=404))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub)
    with pytest.raises(WeightsError, match="expected a file on the hub, found RemoteEntryNotFoundError; correct the table, or bring it"):
        obtain("stdit3", row(), tmp_path)


def test_a_wrong_file_names_what_was_expected_and_found(good, tmp_path):
    size, digest = good.stat().st_size, sha256(good)
    cases = {
        f"expected {size + 1} bytes, found {size}": row(size=size + 1),
        f"expected sha256 {'0' * 64}, found {digest}": row(sha256="0" * 64),
    }
    for message, entry in cases.items():
        with pytest.raises(WeightsError) as error:
            obtain("stdit3", entry.brought(Brought(path=str(good))), tmp_path)
        assert f"weights.stdit3: {good}: {message}; bring the right file" in str(error.value)


def test_a_truncated_file_of_unknown_size_is_refused(good, tmp_path):
    good.write_bytes(good.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="expected safetensors, found a damaged or other file") as error:
        obtain("stdit3", row(path=str(good)), tmp_path)
    assert "\n" not in str(error.value)


def test_a_missing_path_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="expected a file, found none; correct the path"):
        obtain("stdit3", row(path=str(tmp_path / "none.safetensors")), tmp_path)


def test_its_own_checksum_lets_another_file_in(good, tmp_path):
    entry = row(size=1, sha256="0" * 64).brought(Brought(path=str(good), sha256=sha256(good)))
    assert obtain("stdit3", entry, tmp_path) == good


@pytest.mark.parametrize("suffix", [".bin", ".ckpt"])
def test_a_pickle_is_refused_unread(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    torch.save({"weight": RunsCode(tmp_path / "made")}, path)
    with pytest.raises(WeightsError, match="found a pickle .* bring the safetensors"):
        obtain("stdit3", row(path=str(path)), tmp_path)
    assert not (tmp_path / "made").exists()


def broken(path: Path, kind: str) -> None:
    content = {"code": {"weight": RunsCode(path.parent / "made")}, "other": {"weight": torch.ones(2), "step": 3}}
    torch.save(content.get(kind, {"weight": torch.ones(500)}), path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:800])
    if kind == "noise":
        path.write_bytes(b"no file of torch")


@pytest.mark.parametrize("kind", ["code", "other", "truncated", "noise"])
def test_a_torch_file_that_is_not_tensors_only_leaves_nothing(tmp_path, kind):
    path, out = tmp_path / "model.pt", tmp_path / "out"
    broken(path, kind)
    with pytest.raises(WeightsError, match=r"^weights.stdit3: .*model.pt: expected .*, found .*; bring .*$"):
        obtain("stdit3", row(path=str(path)), out)
    assert not (tmp_path / "made").exists() and not list(out.glob("*"))


@pytest.mark.parametrize("wrap", [lambda tensors: tensors, lambda tensors: {"state_dict": tensors, "step": torch.ones(())}])
def test_a_torch_state_dict_becomes_safetensors(tmp_path, wrap):
    path, tensors = tmp_path / "model.pth", {"a": torch.randn(3, 2), "b": torch.arange(4.0)}
    torch.save(wrap(tensors), path)
    made = obtain("stdit3", row(path=str(path)), tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["stdit3.safetensors"]
    assert all(torch.equal(value, tensors[name]) for name, value in load_file(made).items())


def test_torchscript_needs_a_known_checksum(tmp_path):
    path = tmp_path / "i3d.pt"
    path.write_bytes(b"code and weights")
    with pytest.raises(WeightsError, match="expected a known sha256, found none"):
        obtain("i3d", row(path=str(path), format="torchscript"), tmp_path)
    assert obtain("i3d", row(path=str(path), format="torchscript", sha256=sha256(path)), tmp_path) == path


def test_the_vae_is_read_under_new_and_old_names(tmp_path):
    model = build_autoencoder(SHAPE)
    new = model.state_dict()
    words = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for name, tensor in new.items():
        for ours, theirs in words.items():
            name = name.replace(f".{ours}.", f".{theirs}.")
        old[name] = tensor
    assert old.keys() != new.keys()
    for tensors in (new, old):
        save_file(tensors, tmp_path / "vae.safetensors")
        read = read_sdxl(tmp_path / "vae.safetensors", SHAPE).state_dict()
        assert read.keys() == new.keys() and all(torch.equal(read[name], new[name]) for name in new)


@pytest.mark.parametrize("change", ["shape", "missing", "more"])
def test_a_vae_that_does_not_fit_is_refused(tmp_path, change):
    tensors = dict(build_autoencoder(SHAPE).state_dict())
    shape = SHAPE if change != "shape" else VAEConfig(channels=[16, 16], groups=4)
    if change == "missing":
        tensors.pop("quant_conv.bias")
    if change == "more":
        tensors["other"] = torch.zeros(2)
    save_file(tensors, tmp_path / "vae.safetensors")
    with pytest.raises(ValueError, match=r"^\S+vae.safetensors: .*profile's vae.model") as error:
        read_sdxl(tmp_path / "vae.safetensors", shape)
    assert "\n" not in str(error.value)
