"""The stand-in encoder: one file with its hash, equal when trained again, and able to tell what it was trained to tell."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from public_files import sha256
from safetensors.torch import save_file

from cola_world.metrics.encoder import EncoderConfig, SimEncoder, VideoEncoder, save_encoder
from cola_world.metrics.encoder_training import EncoderPlan, EncoderTraining, Tasks, played, train_encoder
from cola_world.metrics.video import measure_videos

CONFIG = EncoderConfig(channels=(8, 16), features=6)
FRAMES, SIDE = 6, 18


def sliding(rng: np.random.Generator) -> np.ndarray:
    """A bright bar that moves to the right, on a ground of its own."""
    frames = np.repeat(rng.integers(0, 100, (1, SIDE, SIDE, 3), dtype=np.uint8), FRAMES, 0)
    start = rng.integers(0, 3)
    for t in range(FRAMES):
        frames[t, :, start + 2 * t : start + 2 * t + 3] = 255
    return frames


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A clip cache of two corpora: bars that slide over dark, and the same in negative."""
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    episodes = [("dark", i) for i in range(12)] + [("light", i) for i in range(12)]
    frames = np.concatenate([sliding(rng) if corpus == "dark" else 255 - sliding(rng) for corpus, _ in episodes])
    np.save(folder / "frames.npy", frames)
    np.save(folder / "actions.npy", np.zeros((len(frames), 1), np.float32))
    rows = [
        {"corpus": corpus, "episode": i, "split": "train", "offset": FRAMES * at, "frames": FRAMES, "stride": 1}
        for at, (corpus, i) in enumerate(episodes)
    ]
    pd.DataFrame(rows).to_parquet(folder / "episodes.parquet")
    return folder


def plan(**changes) -> EncoderPlan:
    """Changes of the training, and of the length of a clip."""
    clips = {"crop": 16, "views": 2, "num_frames": changes.pop("num_frames", 3), "weights": {"dark": 1.0, "light": 1.0}}
    return EncoderPlan(training=EncoderTraining(**({"model": CONFIG, "steps": 3, "batch_size": 16} | changes)), **clips)


@pytest.fixture(scope="module")
def trained(clips, tmp_path_factory):
    path = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
    save_encoder(train_encoder(clips, plan(steps=150, learning_rate=1e-2)), path)
    return SimEncoder.load(path)


def real(clips, count: int = 60) -> torch.Tensor:
    """The clips of a batch as they are."""
    tasks = Tasks(clips, plan())
    indices = tasks.sampler.batch(0, count)
    return torch.from_numpy(tasks.views.cut(tasks.cache.frames, indices, np.zeros(count, int))).permute(0, 1, 4, 2, 3).float() / 255


def test_training_again_gives_equal_bytes_whatever_was_drawn_before(clips, tmp_path):
    for name in ("a", "b"):
        torch.rand(3)
        save_encoder(train_encoder(clips, plan()), tmp_path / name)
    save_encoder(train_encoder(clips, plan(seed=1)), tmp_path / "other")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "other").read_bytes()


def test_a_saved_encoder_is_the_same_and_named_by_its_hash(tmp_path):
    encoder, video = VideoEncoder(CONFIG), torch.rand(2, 4, 3, 16, 16)
    save_encoder(encoder, tmp_path / "encoder.safetensors")
    loaded = SimEncoder.load(tmp_path / "encoder.safetensors")
    assert torch.equal(loaded.encoder(video), encoder(video))
    assert loaded.network.sha256 == sha256(tmp_path / "encoder.safetensors")
    assert [loaded.fvd().title, loaded.fvd().name, loaded.lpips().title, loaded.lpips().name] == [
        "FVD-sim", "video/fvd_sim", "LPIPS-sim", "video/lpips_sim",
    ]  # fmt: skip


def test_what_is_no_encoder_is_refused(tmp_path):
    path = tmp_path / "encoder.safetensors"
    with pytest.raises(ValueError, match="no such file; train the encoder first"):
        SimEncoder.load(path)
    path.write_bytes(b"something")
    with pytest.raises(ValueError, match="expected an encoder of this workspace") as error:
        SimEncoder.load(path)
    for metadata in (None, {"config": json.dumps({"depth": 3})}, {"config": CONFIG.model_dump_json()}):
        save_file({"weight": torch.ones(2)}, path, metadata)
        with pytest.raises(ValueError, match="expected an encoder of this workspace") as error:
            SimEncoder.load(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("frames", [2, 5])
def test_any_clip_of_two_frames_or_more_has_features(frames):
    video = torch.rand(3, frames, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    encoder = VideoEncoder(CONFIG)
    assert encoder(video).shape == (3, CONFIG.features)
    assert torch.allclose(torch.cat([encoder(clip[None]) for clip in video]), encoder(video), atol=1e-6)
    assert not torch.allclose(encoder(video), encoder(video.flip(1)), atol=1e-6), "the order of frames is to matter"


def test_a_frame_looks_like_a_clip_in_which_nothing_moves():
    frame, encoder = torch.rand(1, 1, 3, 16, 16), VideoEncoder(CONFIG)
    assert torch.allclose(encoder(frame), encoder(frame.expand(1, 4, 3, 16, 16)), atol=1e-6)


def test_the_distance_of_frames_is_of_unit_features_in_every_layer():
    a, b = torch.rand(2, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    encoder = VideoEncoder(CONFIG)
    expected = torch.zeros(2)
    for of_a, of_b in zip(encoder.layers(a[:, None]), encoder.layers(b[:, None]), strict=True):
        units = [layer[:, 0] / layer[:, 0].norm(dim=1, keepdim=True).clamp_min(1e-12) for layer in (of_a, of_b)]
        expected += (units[0] - units[1]).square().sum(1).mean((1, 2)) / len(CONFIG.channels)
    assert torch.allclose(encoder.distance(a, b), expected, atol=1e-6)
    assert encoder.distance(a, a).abs().max() == 0


def test_playbacks_are_what_they_are_called():
    rng, clip = np.random.default_rng(0), np.array([7, 9, 11])
    assert played(clip, "forward", rng).tolist() == [7, 9, 11] and played(clip, "backward", rng).tolist() == [11, 9, 7]
    stills, shuffled = ({tuple(played(clip, kind, rng).tolist()) for _ in range(60)} for kind in ("still", "shuffled"))
    assert stills == {(7, 7, 7), (9, 9, 9), (11, 11, 11)}
    assert shuffled == {(9, 7, 11), (7, 11, 9), (9, 11, 7), (11, 7, 9)}


def test_two_frames_have_no_third_order(clips):
    tasks = Tasks(clips, plan(num_frames=2))
    _, (corpus, playback) = tasks.at(0)
    assert tasks.classes == (2, 3) and set(playback.tolist()) == {0, 1, 2} and set(corpus.tolist()) == {0, 1}


def test_labels_say_what_the_clip_is(clips):
    video, (corpus, playback) = Tasks(clips, plan()).at(0)
    light = video.mean((1, 2, 3, 4)) > 0.5
    assert torch.equal(light, corpus == 1)
    still = (video[:, 0] == video[:, 1]).flatten(1).all(1)
    assert torch.equal(still, playback == 2)


def test_its_distances_tell_stills_and_other_contents_from_the_real_clips(clips, trained):
    video, metrics = real(clips), [trained.fvd(), trained.lpips()]
    other = measure_videos(real(clips).roll(1, 0).flip(4).flip(1), video, 1, metrics)
    still = measure_videos(video[:, :1].expand_as(video), video, 1, metrics)
    backward = measure_videos(video.flip(1), video, 0, metrics)
    near = measure_videos((video + 0.02).clamp(0, 1), video, 1, metrics)
    for result in (other, still):
        assert result["video/lpips_sim"].value > 5 * near["video/lpips_sim"].value
    for result in (still, backward):
        assert result["video/fvd_sim"].value > 5 * near["video/fvd_sim"].value
