"""Predicted videos: what is given and what is predicted, from which actions and noise, and that batches do not matter."""

import pytest
import torch
from tiny import CONFIG, CONFIGS, RandomBatches, awake

from cola_world.data.batches import Batch
from cola_world.evaluation.prediction import NOISE_SEED, PredictionConfig, Sampling, load_system, predict
from cola_world.models.autoencoder import VAEConfig, build_autoencoder
from cola_world.models.vae import FrameVAE
from cola_world.training import checkpoint

ONCE = Sampling(10, 4.0)


@pytest.fixture(scope="module")
def vae() -> FrameVAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        autoencoder = build_autoencoder(VAEConfig(channels=[8, 8, 8], groups=4)).eval()
    return FrameVAE(autoencoder, [0.0] * 4, [1.0] * 4)


def clips(count: int = 5, frames: int = 4) -> Batch:
    return RandomBatches(frames).at(0, count, crop=False)


@pytest.mark.parametrize("bottleneck", CONFIGS)
def test_the_first_frame_is_given_and_all_others_are_predicted(vae, bottleneck):
    batch = clips()
    videos = predict(awake(config=CONFIGS[bottleneck]), vae, batch, ONCE, clips_at_a_time=8)
    assert videos.shape == batch.video.shape and videos.min() >= 0 and videos.max() <= 1
    assert torch.equal(videos[:, 0], batch.video[:, 0])
    assert ((videos[:, 1:] - batch.video[:, 1:]).abs().mean((2, 3, 4)) > 0.01).all()


def test_more_context_is_more_that_is_given(vae):
    config = CONFIG.model_copy(update={"flow": CONFIG.flow.model_copy(update={"context_frames": 2})})
    batch = clips()
    videos = predict(awake(config=config), vae, batch, ONCE, clips_at_a_time=8)
    assert torch.equal(videos[:, :2], batch.video[:, :2]) and not torch.equal(videos[:, 2], batch.video[:, 2])


@pytest.mark.parametrize("at_a_time", [1, 2, 5])
def test_neither_repetition_nor_batches_matter(vae, at_a_time):
    system, batch = awake(), clips()
    whole = predict(system, vae, batch, ONCE, clips_at_a_time=8)
    assert torch.equal(whole, predict(system, vae, batch, ONCE, clips_at_a_time=8))
    torch.testing.assert_close(predict(system, vae, batch, ONCE, at_a_time), whole, atol=1e-4, rtol=1e-4)


def test_bytes_are_what_floats_are(vae):
    batch = clips()
    pixels = (255 * batch.video).round().byte()
    as_bytes, as_floats = (predict(awake(), vae, batch._replace(video=video), ONCE, 8) for video in (pixels, pixels.float() / 255))
    assert torch.equal(as_bytes, as_floats)


def test_a_clip_is_sampled_by_its_own_noise_and_the_actions_of_its_real_video(vae):
    """What the parts give when called one after the other."""
    system, batch = awake(), clips()
    noise = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(NOISE_SEED))
    with torch.no_grad():
        actions = system.lam.latent_actions(batch.video).z_BAMZ.flatten(2)
        imagined = system.world_model.denoise(batch.latents[3:4, :1], actions[3:4], noise[3:4])
        expected = vae.decode(imagined, 4)
    torch.testing.assert_close(predict(system, vae, batch, ONCE, 8)[3:4, 1:], expected[:, 1:], atol=1e-4, rtol=1e-4)
    later = batch._replace(latents=torch.cat((batch.latents[:, :1], torch.zeros_like(batch.latents[:, 1:])), 1))
    seen = predict(system, vae, batch, ONCE, 8)
    assert torch.equal(predict(system, vae, later, ONCE, 8), seen), "the latents of later frames are not looked at"
    other = batch._replace(video=torch.cat((batch.video[:, :3], 1 - batch.video[:, 3:]), 1))
    assert not torch.equal(predict(system, vae, other, ONCE, 8)[:, 3], predict(system, vae, batch, ONCE, 8)[:, 3])


def test_progress_counts_clips(vae):
    done = []
    predict(awake(), vae, clips(), ONCE, 2, done.append)
    assert done == [2, 4, 5]


def test_a_system_is_put_together_from_its_line(tmp_path):
    parent, own = awake(1), awake(2)
    files = []
    for name, system, parts in (("parent", parent, ("idm", "quantizer", "stdit3")), ("own", own, ("stdit3", "action_adaln"))):
        modules = {part: module for part, module in system.parts().items() if part in parts}
        tensors = {f"{part}.{n}": p for part, module in modules.items() for n, p in module.named_parameters()}
        files.append(tmp_path / f"{name}.safetensors")
        checkpoint.save(tensors | {"optimizer/step/idm.patch.weight": torch.ones(1)}, files[-1])
    found = load_system(CONFIG, files)
    assert not found.training
    for part, source in {"idm": parent, "quantizer": parent, "stdit3": own, "action_adaln": own}.items():
        pairs = zip(found.parts()[part].parameters(), source.parts()[part].parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs), part


def test_guidance_1_and_the_mean_prediction_are_always_measured_too(vae):
    ways = PredictionConfig(clips=2, steps=7, guidance=2.5).ways()
    assert ways == {"": (7, 2.5), "_guidance1": (7, 1.0), "_mean": (1, 1.0)}
    system, batch = awake(), clips()
    videos = [predict(system, vae, batch, sampling, 8) for sampling in ways.values()]
    assert all(not torch.equal(a, b) for a, b in zip(videos, videos[1:], strict=False))
