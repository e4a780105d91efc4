"""What the stages `vae` and `latents` write, for VAEs that join frames and for those that do not."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from caches import make, plan
from public_files import row
from tiny import GROUPED, OPENSORA, SPATIAL

from cola_world.data.batches import CachedBatches
from cola_world.data.latents import all_clips, cache_latents
from cola_world.models import opensora_vae
from cola_world.models.autoencoder import build_autoencoder
from cola_world.models.opensora_vae import OpenSoraVAE
from cola_world.models.pixels import unit_pixels
from cola_world.models.vae import FrameVAE, load_vae
from cola_world.training import run
from cola_world.training.vae import VAEPlan, make_vae, training_frames

SMALL = {"kind": "small", "model": {"channels": [8], "groups": 4}, "steps": 4, "batch_size": 4, "learning_rate": 1.0e-3}


def silent(done: int, total: int) -> None:
    pass


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """Noise in which the second corpus is seen at every other frame."""
    monkeypatch.setenv("COLA_SCRATCH", str(tmp_path / "scratch"))
    made = make(tmp_path, episodes=3, frames=10)
    episodes = pd.read_parquet(made.clips / "episodes.parquet")
    episodes["stride"] = np.where(episodes["corpus"] == "hand", 2, 1)
    episodes.to_parquet(made.clips / "episodes.parquet")
    return made


def latents_of(kind: str, inputs, num_frames: int) -> FrameVAE | OpenSoraVAE:
    """Make a random VAE, cache its latents, and give it back."""
    folder = inputs.runs / kind
    torch.manual_seed(0)
    if kind == "opensora":
        OpenSoraVAE(OPENSORA).save(folder)
    else:
        build_autoencoder(SPATIAL).save_pretrained(folder)
        (folder / "latent_statistics.json").write_text(json.dumps({"mean": [0.0] * 4, "std": [0.5] * 4}))
    cache_latents(inputs.clips, folder, inputs.latents, 16, 2, silent, num_frames)
    return load_vae(folder).eval()


@pytest.mark.parametrize(("kind", "latent_frames"), [("sdxl", 5), ("opensora", 2)])
def test_a_batch_has_the_latents_of_its_own_video(inputs, kind, latent_frames):
    model = latents_of(kind, inputs, num_frames=5)
    batches = CachedBatches(inputs.clips, inputs.latents, 5, {"arm": 0.5, "hand": 0.5})
    for batch in (batches.at(0, 6, crop=True), batches.heldout(4)):
        assert batch.latents.shape[1:] == (latent_frames, 4, 4, 4)
        assert torch.allclose(batch.latents, model.encode(unit_pixels(batch.video)), atol=2e-3, rtol=2e-3)


def test_all_clips_stay_in_their_episode_at_its_stride(inputs):
    clips = all_clips(CachedBatches(inputs.clips, inputs.latents, 3, {"arm": 1.0}).cache, 5)
    assert len(clips) == 3 * 6 + 3 * 2
    assert clips[0].tolist() == [0, 1, 2, 3, 4] and clips[-1].tolist() == [51, 53, 55, 57, 59]
    assert (clips // 10 == clips[:, :1] // 10).all()


def for_evaluation_only(inputs, corpus: str) -> None:
    episodes = pd.read_parquet(inputs.clips / "episodes.parquet")
    episodes["evaluation_only"] = episodes["corpus"] == corpus
    episodes.to_parquet(inputs.clips / "episodes.parquet")


def test_a_corpus_for_evaluation_only_has_latents_of_whole_frames_alone(inputs):
    for_evaluation_only(inputs, "hand")
    model = latents_of("sdxl", inputs, num_frames=3)
    latents = np.load(inputs.latents / "latents.npy")
    assert latents[0].any(axis=(1, 2, 3)).all() and latents[1, :30].any(axis=(1, 2, 3)).all() and not latents[1, 30:].any()
    trained, held = (CachedBatches(inputs.clips, inputs.latents, 3, {name: 1.0}) for name in ("arm", "hand"))
    trained.at(0, 4, crop=True)
    batch = held.at(0, 4, crop=False)
    assert torch.allclose(batch.latents, model.encode(unit_pixels(batch.video)), atol=2e-3, rtol=2e-3)
    with pytest.raises(ValueError, match="hand are for evaluation only and have no latents of random crops"):
        held.at(0, 4, crop=True)


def test_the_vae_sees_no_frame_of_a_corpus_for_evaluation_only(inputs):
    for_evaluation_only(inputs, "arm")
    assert set(training_frames(inputs.clips)) == set(range(40, 60))


def test_latents_of_other_clips_are_refused(inputs):
    latents_of("opensora", inputs, num_frames=5)
    with pytest.raises(ValueError, match="num_frames: 3 differs from the cached latents' clips of 5"):
        CachedBatches(inputs.clips, inputs.latents, 3, {"arm": 1.0})


def test_a_clip_has_the_rate_of_its_frames(inputs):
    """A second corpus of 30 a second, of which every third frame is taken, and 15 a second."""
    latents_of("sdxl", inputs, num_frames=3)
    table = pd.read_parquet(inputs.clips / "episodes.parquet")
    hand = table["corpus"] == "hand"
    table.loc[hand, ["fps", "stride"]] = [45.0, 3]
    table.to_parquet(inputs.clips / "episodes.parquet")
    batches = CachedBatches(inputs.clips, inputs.latents, 3, {"arm": 0.5, "hand": 0.5})
    clips_NT = batches.sampler.batch(0, 16)
    expected = np.where(batches.cache.corpus_of(clips_NT) == "hand", 15.0, 10.0)
    assert batches.at(0, 16, crop=False).fps.tolist() == expected.tolist() and len(set(expected)) == 2


def test_joint_training_on_grouped_actions(inputs):
    latents_of("opensora", inputs, num_frames=5)
    clips = {"size": 18, "crop": 16, "views": 2, "num_frames": 5, "heldout_clips": 4}
    a_plan = plan("run", "e2e", system=GROUPED, clips=clips, steps=3)
    folder = run.train(a_plan, 1, inputs, silent)
    rows = (folder / "metrics.csv").read_text()
    assert "flow_loss" in rows and "shuffle_gap" in rows


def test_a_public_sdxl_vae_is_taken_with_statistics_of_the_clips(inputs, tmp_path):
    torch.manual_seed(0)
    model = build_autoencoder(SPATIAL)
    model.save_pretrained(tmp_path / "public")
    public = VAEPlan(vae={"kind": "sdxl", "path": str(tmp_path / "public")}, crop=16, views=2)
    make_vae(inputs.clips, public, tmp_path / "vae", silent)
    cache_latents(inputs.clips, tmp_path / "vae", inputs.latents, 16, 2, silent)
    taken = load_vae(tmp_path / "vae")
    assert all(torch.equal(a, b) for a, b in zip(taken.autoencoder.parameters(), model.parameters(), strict=True))
    latents = np.load(inputs.latents / "latents.npy").astype(np.float32)
    assert latents[0].mean((0, 2, 3)) == pytest.approx(0, abs=0.1) and latents[0].std((0, 2, 3)) == pytest.approx(1, abs=0.1)


def test_a_public_opensora_vae_is_taken_as_it_is(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(opensora_vae, "PUBLISHED", OPENSORA)
    model = OpenSoraVAE(OPENSORA)
    model.save(tmp_path / "public")
    public = VAEPlan(vae={"kind": "opensora", "path": str(tmp_path / "public")}, crop=16, views=2)
    make_vae(inputs.clips, public, tmp_path / "vae", silent)
    named = VAEPlan(vae=SMALL, crop=16, views=2, public={"opensora_vae": row(replaces="vae")})
    make_vae(inputs.clips, named, tmp_path / "named", silent, tmp_path / "public" / "model.safetensors")
    for folder in ("vae", "named"):
        pairs = zip(load_vae(tmp_path / folder).state_dict().values(), model.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
