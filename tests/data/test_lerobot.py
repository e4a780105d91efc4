"""LeRobot data sets: what is written is read back, and older layouts are read too."""

import ctypes
import json
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from corpus import FRAMES, SIZE, actions, pictures, write_corpus

from cola_world.data import video
from cola_world.data.lerobot import CAMERA, open_dataset
from cola_world.data.lerobot_writer import EPISODES_PER_VIDEO
from cola_world.data.video import X264, VideoWriter, decode

EPISODES = EPISODES_PER_VIDEO + 2


def decoded(ref):
    return np.stack(list(decode(ref.video)))[ref.first_frame : ref.first_frame + ref.frames]


def test_episodes_come_back_as_they_went_in(tmp_path):
    write_corpus(tmp_path / "a", EPISODES)
    dataset = open_dataset(tmp_path / "a")
    assert (len(dataset.episodes), dataset.fps, dataset.action_dim) == (EPISODES, 10, 2)
    assert len({ref.video for ref in dataset.episodes}) == 2
    found = dataset.actions()
    for ref in dataset.episodes:
        assert np.abs(decoded(ref).astype(int) - pictures(ref.episode)).max() <= 3
        np.testing.assert_array_equal(found[ref.episode], actions(ref.episode, 2))


def test_layout_is_version_3(tmp_path):
    write_corpus(tmp_path, EPISODES)
    info = json.loads((tmp_path / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["total_frames"] == EPISODES * FRAMES
    assert info["features"][CAMERA]["shape"] == [SIZE, SIZE, 3]
    rows = pq.read_table(tmp_path / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    last = rows[-1]
    assert last[f"videos/{CAMERA}/file_index"] == 1 and last["tasks"] == ["task 1"]
    assert last[f"videos/{CAMERA}/from_timestamp"] == pytest.approx(FRAMES / 10)
    assert last[f"videos/{CAMERA}/to_timestamp"] == pytest.approx(2 * FRAMES / 10)
    assert (last["dataset_from_index"], last["dataset_to_index"]) == ((EPISODES - 1) * FRAMES, EPISODES * FRAMES)
    assert pd.read_parquet(tmp_path / "meta/tasks.parquet").loc["task 1", "task_index"] == 1
    data = pq.read_table(tmp_path / "data/chunk-000/file-000.parquet").to_pandas()
    assert list(data["frame_index"][:3]) == [0, 1, 2] and data["index"].is_monotonic_increasing


@pytest.mark.parametrize(
    ("form", "found"),
    [
        (["x", "gripper"], ("x", "gripper")),
        ({"motors": ["x", "gripper"]}, ("x", "gripper")),
        ({"gripper": 1, "x": 0}, ("x", "gripper")),
        (None, ()),
        (["x"], ()),
    ],
)
def test_names_of_actions_are_read_in_every_form_that_they_have(tmp_path, form, found):
    write_corpus(tmp_path, 2, names=("x", "gripper"))
    path = tmp_path / "meta/info.json"
    info = json.loads(path.read_text())
    assert info["features"]["action"]["names"] == ["x", "gripper"]
    info["features"]["action"]["names"] = form
    path.write_text(json.dumps(info))
    assert open_dataset(tmp_path).action_names == found


def test_statistics_are_those_of_all_frames(tmp_path):
    write_corpus(tmp_path, 3)
    stats = json.loads((tmp_path / "meta/stats.json").read_text())
    every = np.concatenate([actions(i, 2) for i in range(3)])
    np.testing.assert_allclose(stats["action"]["mean"], every.mean(0))
    np.testing.assert_allclose(stats["action"]["std"], every.std(0), rtol=1e-6)
    pixels = np.concatenate([pictures(i) for i in range(3)]) / 255
    np.testing.assert_allclose(np.ravel(stats[CAMERA]["mean"]), pixels.mean((0, 1, 2)))


def test_the_same_episodes_give_the_same_bytes(tmp_path):
    for name in "ab":
        write_corpus(tmp_path / name, 3)
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) == 6
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


def test_without_actions_there_is_no_action_column(tmp_path):
    write_corpus(tmp_path, 2, action_dim=0)
    dataset = open_dataset(tmp_path)
    assert dataset.action_dim == 0 and dataset.actions() == {}
    assert "action" not in pq.read_table(dataset.episodes[0].data).column_names


def test_version_2_1_is_read(tmp_path):
    info = {
        "codebase_version": "v2.1",
        "fps": 10,
        "chunks_size": 1000,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": {"cam": {"dtype": "video"}, "action": {"dtype": "float32", "shape": [2]}},
    }
    (tmp_path / "meta").mkdir()
    (tmp_path / "data/chunk-000").mkdir(parents=True)
    (tmp_path / "meta/info.json").write_text(json.dumps(info))
    lines = [json.dumps({"episode_index": i, "tasks": ["x"], "length": FRAMES}) for i in range(2)]
    (tmp_path / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")
    for i in range(2):
        writer = VideoWriter(tmp_path / f"videos/chunk-000/cam/episode_{i:06d}.mp4", fps=10, width=SIZE, height=SIZE)
        writer.add(pictures(i))
        writer.close()
        rows = pd.DataFrame({"action": list(actions(i, 2))})
        rows.to_parquet(tmp_path / f"data/chunk-000/episode_{i:06d}.parquet")
    dataset = open_dataset(tmp_path)
    assert [ref.frames for ref in dataset.episodes] == [FRAMES, FRAMES]
    np.testing.assert_array_equal(dataset.actions()[1], actions(1, 2))
    assert np.abs(decoded(dataset.episodes[1]).astype(int) - pictures(1)).max() <= 3


def test_both_decoders_see_the_same_pixels(tmp_path):
    pytest.importorskip("decord")
    writer = VideoWriter(tmp_path / "a.mp4", fps=10, width=64, height=64)
    writer.add(np.random.default_rng(0).integers(0, 255, (20, 8, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2))
    writer.close()
    one, other = (np.stack(list(reader(tmp_path / "a.mp4"))) for reader in (video._with_decord, video._with_pyav))
    np.testing.assert_array_equal(one, other)


@pytest.fixture
def old_processor(monkeypatch):
    """Takes FFmpeg's vector instructions away when called, and x264's but for SSSE3 (2006), before which its decisions are others."""
    found = [*(Path(av.__file__).parents[1] / "av.libs").glob("libavutil*")]
    if not found:
        pytest.skip("this PyAV brings no FFmpeg of its own, whose processor could be told")
    force = ctypes.CDLL(str(found[0])).av_force_cpu_flags

    def turn_back() -> None:
        force(0)
        monkeypatch.setattr(video, "X264", X264 | {"x264-params": "asm=ssse3"})

    yield turn_back
    force(-1)  # as found by itself


def write_clips(path: Path) -> bytes:
    rng = np.random.default_rng(0)
    writer = VideoWriter(path, fps=10, width=80, height=80)
    for low in (0, 80):  # coarse patches under fine grain, which is rougher from left to right
        patches = rng.integers(low, low + 90, (12, 5, 5, 3)).repeat(16, 1).repeat(16, 2)
        writer.add((patches + rng.random(patches.shape) * np.arange(80)[:, None]).astype(np.uint8))
    writer.close()
    return path.read_bytes()


def test_bytes_do_not_depend_on_the_processor(tmp_path, old_processor):
    here = write_clips(tmp_path / "here")
    old_processor()
    assert write_clips(tmp_path / "old") == here


@pytest.mark.parametrize("version", ["v1.6", ""])
def test_unknown_version_is_refused(tmp_path, version):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text(json.dumps({"codebase_version": version}))
    with pytest.raises(ValueError, match="codebase_version"):
        open_dataset(tmp_path)
