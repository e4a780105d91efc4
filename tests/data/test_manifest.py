"""The manifest: episodes are split by a hash that does not move when others come."""

import pytest
from corpus import FRAMES, SIZE, brought, write_corpus

from cola_world.data.manifest import build_manifest, held_out_episodes


def test_rows_describe_the_episodes(tmp_path):
    write_corpus(tmp_path / "arm", 4)
    manifest = build_manifest(brought(tmp_path, "arm", stride=2))
    row = manifest.iloc[1]
    assert (row["frames"], row["first_frame"], row["width"], row["stride"], row["action_dim"]) == (FRAMES, FRAMES, SIZE, 2, 2)
    assert (row["from_timestamp"], row["to_timestamp"]) == (FRAMES / 10, 2 * FRAMES / 10)
    assert len(row["sha256"]) == 64 and set(manifest["split"]) == {"train", "val"}


def test_hidden_actions_are_not_in_the_manifest(tmp_path):
    write_corpus(tmp_path / "arm", 2)
    assert set(build_manifest(brought(tmp_path, "arm", hide_actions=True))["action_dim"]) == {0}


def test_names_of_actions_go_with_the_actions(tmp_path):
    write_corpus(tmp_path / "arm", 2, names=("x", "gripper"))
    assert set(build_manifest(brought(tmp_path, "arm"))["action_names"]) == {"x,gripper"}
    assert set(build_manifest(brought(tmp_path, "arm", hide_actions=True))["action_names"]) == {""}


def test_split_is_by_episode_stable_and_about_a_tenth():
    few, many = held_out_episodes("arm", list(range(500)), 0.1), held_out_episodes("arm", list(range(1000)), 0.1)
    assert few == {episode for episode in many if episode < 500}
    assert 70 <= len(many) <= 130
    assert many != held_out_episodes("hand", list(range(1000)), 0.1)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_small_corpus_has_both_splits(count):
    assert 1 <= len(held_out_episodes("arm", list(range(count)), 0.1)) < count


def test_a_missing_corpus_is_named(tmp_path):
    with pytest.raises(ValueError, match="arm.*not a LeRobot data set"):
        build_manifest(brought(tmp_path, "arm"))
