"""The clip cache: pixels and actions of the right episodes, and what is broken is set aside with its reason."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from corpus import FRAMES, actions, brought, pictures, write_corpus

from cola_world.data.clip_cache import build_clips
from cola_world.data.clips import ClipCache
from cola_world.data.lerobot_writer import EPISODES_PER_VIDEO
from cola_world.data.manifest import build_manifest

EPISODES = 2 * EPISODES_PER_VIDEO
HOW = {"size": 16, "num_frames": 3, "mixture": {"oxe": 0.3, "agibot": 0.2}}


@pytest.fixture
def manifest(tmp_path):
    write_corpus(tmp_path / "arm", EPISODES)
    return build_manifest(brought(tmp_path, "arm"))


def quarantine(folder: Path) -> list[dict]:
    with open(folder / "quarantine.csv") as file:
        return list(csv.DictReader(file))


def first_video(manifest) -> Path:
    return Path(manifest["path"].iloc[0])


def test_every_episode_has_its_own_pixels_and_actions(manifest, tmp_path):
    card = build_clips(manifest, tmp_path / "clips", **HOW)
    cache = ClipCache.open(tmp_path / "clips")
    assert cache.frames.shape == (EPISODES * FRAMES, 16, 16, 3) and card["frames"] == EPISODES * FRAMES
    for row in cache.episodes.to_dict("records"):
        span = slice(row["offset"], row["offset"] + row["frames"])
        grey = pictures(row["episode"])[:, 0, 0, 0].astype(int)
        assert np.abs(cache.frames[span].mean((1, 2, 3)) - grey).max() <= 3
        np.testing.assert_array_equal(cache.actions[span], actions(row["episode"], 2))


def test_a_corpus_for_evaluation_only_is_in_the_cache_and_not_in_the_mixture(tmp_path):
    corpora = [brought(tmp_path, "arm"), brought(tmp_path, "leg", evaluation_only=True)]
    for name in ("arm", "leg"):
        write_corpus(tmp_path / name, 4, names=("x", "gripper"))
    card = build_clips(pd.concat([build_manifest(own) for own in corpora], ignore_index=True), tmp_path / "clips", **HOW)
    cache = ClipCache.open(tmp_path / "clips")
    assert cache.evaluation_only == ["leg"] and card["mixture"]["weights"] == {"arm": 1.0}
    assert set(cache.corpus_of(np.arange(len(cache.frames)))) == {"arm", "leg"}
    assert set(cache.episodes["action_names"]) == {"x,gripper"}


def test_the_same_bytes_twice(manifest, tmp_path):
    cards = [build_clips(manifest, tmp_path / name, **HOW) for name in ("one", "two")]
    assert cards[0]["sha256"] == cards[1]["sha256"]
    assert (tmp_path / "one/card.json").read_bytes() == (tmp_path / "two/card.json").read_bytes()


def test_hidden_actions_are_nan_and_others_are_padded(tmp_path):
    write_corpus(tmp_path / "arm", 3)
    write_corpus(tmp_path / "hand", 3, action_dim=0)
    build_clips(build_manifest(brought(tmp_path, "arm", "hand")), tmp_path / "clips", **HOW)
    cache = ClipCache.open(tmp_path / "clips")
    names = cache.corpus_of(np.arange(len(cache.frames)))
    assert np.isnan(cache.actions[names == "hand"]).all()
    assert not np.isnan(cache.actions[names == "arm"]).any()


def test_a_truncated_file_is_set_aside_with_its_reason(manifest, tmp_path):
    path = first_video(manifest)
    path.write_bytes(path.read_bytes()[:-200])
    broken = build_manifest(brought(tmp_path, "arm"))  # its checksum is now that of the truncated file
    card = build_clips(broken, tmp_path / "clips", **HOW)
    rows = quarantine(tmp_path / "clips")
    assert len(rows) == EPISODES_PER_VIDEO == card["quarantined"] == card["corpora"]["arm"]["quarantined"]
    assert all(row["path"] == str(path) and "cannot be" in row["reason"] for row in rows)
    assert ClipCache.open(tmp_path / "clips").frames.shape[0] == (EPISODES - EPISODES_PER_VIDEO) * FRAMES


@pytest.mark.parametrize(("damage", "reason"), [("change", "checksum differs"), ("remove", "missing")])
def test_a_changed_or_missing_file_is_set_aside(manifest, tmp_path, damage, reason):
    path = first_video(manifest)
    path.write_bytes(path.read_bytes() + b"x") if damage == "change" else path.unlink()
    build_clips(manifest, tmp_path / "clips", **HOW)
    rows = quarantine(tmp_path / "clips")
    assert len(rows) == EPISODES_PER_VIDEO and all(reason in row["reason"] for row in rows)


def test_an_episode_shorter_than_a_clip_is_set_aside(tmp_path):
    write_corpus(tmp_path / "arm", 4)
    manifest = build_manifest(brought(tmp_path, "arm"))
    manifest.loc[0, "frames"] = 2
    build_clips(manifest, tmp_path / "clips", **HOW)
    assert [row["reason"] for row in quarantine(tmp_path / "clips")] == ["shorter than a clip: 2 frames, 3 are needed"]


def test_a_corpus_without_a_usable_episode_is_an_error(manifest, tmp_path):
    for path in set(manifest["path"]):
        Path(path).unlink()
    with pytest.raises(ValueError, match="corpus 'arm' is unusable.*the file is missing"):
        build_clips(manifest, tmp_path / "clips", **HOW)


def test_the_weight_of_a_missing_group_is_shared_and_recorded(manifest, tmp_path):
    mixture = build_clips(manifest, tmp_path / "clips", **HOW)["mixture"]
    assert mixture["weights"] == {"arm": 1.0} and mixture["missing_groups"] == {"agibot": 0.2}
    assert "agibot" in mixture["note"]
