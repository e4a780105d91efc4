"""The doctor measures the public prior behind both public VAEs, or says what is missing."""

import json

import pandas as pd
import pytest
import torch
from caches import make
from conftest import ROOT
from public_files import row, write_public
from tiny import CONFIG, OPENSORA, SPATIAL

from cola_world.doctor import frozen_loss
from cola_world.doctor.frozen_loss import encoded, frozen_losses, prior
from cola_world.models import opensora_vae
from cola_world.models.autoencoder import build_autoencoder
from cola_world.models.opensora_vae import OpenSoraVAE
from cola_world.weights.public import Brought
from cola_world.workspace.profile import read_profile

SHARES = {"arm": 0.5, "hand": 0.5}


@pytest.fixture
def profile():
    own = read_profile("smoke", ROOT)
    vae = own.vae.model_copy(update={"model": SPATIAL})
    return own.model_copy(update={"weights": {"stdit3": Brought()}, "system": CONFIG, "vae": vae})


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Small files of all three kinds, and a clip cache of noise."""
    monkeypatch.setattr(opensora_vae, "PUBLISHED", OPENSORA)
    (tmp_path / "weights").mkdir()
    paths = {name: tmp_path / "weights" / f"{name}.safetensors" for name in ("stdit3", "opensora_vae", "sdxl_vae")}
    write_public(paths["stdit3"])
    torch.manual_seed(0)
    OpenSoraVAE(OPENSORA).save(tmp_path / "opensora")
    (tmp_path / "opensora" / "model.safetensors").rename(paths["opensora_vae"])
    build_autoencoder(SPATIAL).save_pretrained(tmp_path / "sdxl")
    (tmp_path / "sdxl" / "diffusion_pytorch_model.safetensors").rename(paths["sdxl_vae"])
    make(tmp_path, episodes=3, frames=20)
    return {name: row(path=str(path)) for name, path in paths.items()}


def test_both_losses_are_measured(profile, files, tmp_path):
    found = frozen_losses(profile, files, SHARES, tmp_path)
    assert list(found) == ["opensora_vae", "sdxl_vae"]
    values = [float(state.partition(",")[0]) for state in found.values()]
    assert all(state.endswith("16 held-out clips of 17 frames") for state in found.values()) and values[0] != values[1]
    assert frozen_losses(profile, files, SHARES, tmp_path) == found, "the same numbers every time"


@torch.no_grad()
def test_latents_are_those_that_training_would_see(profile, files):
    video = torch.rand(3, 17, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    own = encoded("opensora_vae", frozen_loss.Path(files["opensora_vae"].path), video, profile)
    assert own.shape == (3, 5, 4, 4, 4)
    sdxl = encoded("sdxl_vae", frozen_loss.Path(files["sdxl_vae"].path), video, profile)
    assert sdxl.shape == (3, 17, 4, 4, 4)
    torch.testing.assert_close(sdxl.mean((0, 1, 3, 4)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(sdxl.std((0, 1, 3, 4)), torch.ones(4), atol=1e-5, rtol=0)
    assert all(block.attn.causal for block in prior(profile, frozen_loss.Path(files["stdit3"].path)).stdit3.temporal_blocks)


def test_what_is_missing_is_said(profile, files, tmp_path, monkeypatch):
    monkeypatch.setattr(frozen_loss, "downloaded", lambda file: None)
    own = files | {"opensora_vae": row()}
    found = frozen_losses(profile, own, SHARES, tmp_path)
    assert found["opensora_vae"] == "not measured: weights.opensora_vae not here" and "held-out" in found["sdxl_vae"]
    (tmp_path / "data/clips/card.json").unlink()
    assert frozen_losses(profile, own, SHARES, tmp_path)["sdxl_vae"] == "not measured: data/clips not here"
    assert frozen_losses(profile.model_copy(update={"weights": {}}), own, SHARES, tmp_path) == {}


def test_clips_that_are_too_short_are_one_line(profile, files, tmp_path):
    table = pd.read_parquet(tmp_path / "data/clips/episodes.parquet").assign(frames=16)
    table.to_parquet(tmp_path / "data/clips/episodes.parquet")
    assert json.dumps(frozen_losses(profile, files, SHARES, tmp_path)).count("not measured: ") == 2
