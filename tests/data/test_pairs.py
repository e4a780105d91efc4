"""Frame pairs: every one once, with what was done between its frames, and never across episodes or splits."""

import numpy as np
import pandas as pd
import pytest

from cola_world.data.clips import ClipCache
from cola_world.data.pairs import frame_pairs

FRAMES = 11


def cache(stride: int = 1, names: str = "x,gripper", dimensions: int = 2) -> ClipCache:
    """Four episodes of an arm, the last one for validation, after one of a hand; actions tell frame and dimension."""
    rows = [{"corpus": "hand", "split": "train", "action_dim": 0, "action_names": ""}]
    rows += [{"corpus": "arm", "split": split, "action_dim": dimensions, "action_names": names} for split in ("train",) * 3 + ("val",)]
    offsets = FRAMES * np.arange(len(rows))
    episodes = pd.DataFrame(rows).assign(offset=offsets, frames=FRAMES, stride=stride, evaluation_only=False)
    frame = np.arange(FRAMES * len(rows), dtype=np.float32)
    return ClipCache(np.zeros((len(frame), 2, 2, 3), np.uint8), np.stack([frame, -frame, 9 + frame], 1), episodes)


def test_every_pair_of_the_split_comes_once_with_its_action():
    pairs = frame_pairs(cache(), "arm", "train", num_frames=3, count=1000)
    assert pairs.clips_NT.shape == (3 * 5, 3) and pairs.actions_NAD.shape == (3 * 5, 2, 2)
    earlier = pairs.clips_NT[:, :-1].reshape(-1)
    wanted = np.concatenate([np.arange(10) + FRAMES * episode for episode in (1, 2, 3)])
    np.testing.assert_array_equal(np.sort(earlier), wanted)
    np.testing.assert_array_equal(pairs.actions_NAD.reshape(-1, 2), np.stack([earlier, -earlier], 1))
    assert (np.diff(pairs.clips_NT) == 1).all()


def test_splits_share_no_episode():
    train, val = (frame_pairs(cache(), "arm", split, 3, 1000).clips_NT // FRAMES for split in ("train", "val"))
    assert set(train.flat) == {1, 2, 3} and set(val.flat) == {4}


def test_the_actions_of_a_longer_step_are_their_mean():
    pairs = frame_pairs(cache(stride=2), "arm", "val", num_frames=3, count=1000)
    np.testing.assert_array_equal(pairs.clips_NT, 4 * FRAMES + np.array([[0, 2, 4], [4, 6, 8]]))
    np.testing.assert_array_equal(pairs.actions_NAD[:, :, 0], pairs.clips_NT[:, :-1] + 0.5)


def test_fewer_pairs_are_spread_over_the_episodes():
    pairs = frame_pairs(cache(), "arm", "train", num_frames=3, count=6)
    assert pairs.clips_NT.shape == (3, 3) and set(pairs.clips_NT[:, 0] // FRAMES) == {1, 2, 3}
    assert len(frame_pairs(cache(), "arm", "train", num_frames=3, count=5).clips_NT) == 3
    assert len(frame_pairs(cache(), "arm", "train", num_frames=3, count=1).clips_NT) == 1


def test_names_are_those_of_the_data_set():
    assert frame_pairs(cache(names="x,Left_Gripper.pos"), "arm", "val", 3, 10).names == ("x", "Left_Gripper.pos")
    assert frame_pairs(cache(names=""), "arm", "val", 3, 10).names == ()


@pytest.mark.parametrize(
    ("corpus", "split", "num_frames", "message"),
    [
        ("leg", "train", 3, "corpus 'leg' is not in the clip cache; it holds arm, hand"),
        ("hand", "train", 3, "corpus 'hand' has no recorded actions, or they are hidden"),
        ("arm", "test", 3, "corpus 'arm' has no test episode of 3 frames at its stride of 1"),
        ("arm", "val", 12, "corpus 'arm' has no val episode of 12 frames at its stride of 1"),
    ],
)
def test_what_has_no_pairs_is_refused(corpus, split, num_frames, message):
    with pytest.raises(ValueError, match=message):
        frame_pairs(cache(), corpus, split, num_frames, 10)
