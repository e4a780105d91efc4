"""The sampler: stateless, in the mixture's proportions, and never across the end of an episode."""

import time

import numpy as np
import pandas as pd
import pytest

from cola_world.data.clips import ClipCache, ClipSampler, mix

WEIGHTS = {"arm": 0.5, "hand": 0.3, "other": 0.2}


@pytest.fixture
def cache():
    rows, offset = [], 0
    lengths = {"arm": [30, 5, 41, 20], "hand": [17, 23, 60], "other": [9, 100]}
    for corpus, frames in lengths.items():
        for episode, count in enumerate(frames):
            for split in ("train", "val"):
                stride = 2 if corpus == "hand" else 1
                rows.append({"corpus": corpus, "episode": 2 * episode + (split == "val"), "split": split, "offset": offset})
                rows[-1] |= {"frames": count, "stride": stride}
                offset += count
    return ClipCache(np.zeros((offset, 2, 2, 3), np.uint8), np.zeros((offset, 1), np.float32), pd.DataFrame(rows))


def sampler(cache, *, seed=0, split="train", weights=None, num_frames=4):
    return ClipSampler(cache, num_frames=num_frames, weights=weights or WEIGHTS, split=split, seed=seed)


def test_a_batch_depends_on_seed_and_step_alone(cache):
    first, again = sampler(cache), sampler(cache)
    wanted = first.batch(7, 32)
    again.batch(3, 100)
    np.testing.assert_array_equal(again.batch(7, 32), wanted)
    assert not np.array_equal(first.batch(8, 32), wanted)
    assert not np.array_equal(sampler(cache, seed=1).batch(7, 32), wanted)


@pytest.mark.parametrize("split", ["train", "val"])
def test_clips_stay_within_one_episode_of_the_split(cache, split):
    clips = sampler(cache, split=split).batch(0, 5000)
    offsets = cache.episodes["offset"].to_numpy()
    rows = np.searchsorted(offsets, clips, side="right") - 1
    assert (rows == rows[:, :1]).all()
    episode = cache.episodes.iloc[rows[:, 0]]
    assert set(episode["split"]) == {split}
    assert (np.diff(clips, axis=1) == episode["stride"].to_numpy()[:, None]).all()


def test_mixture_proportions(cache):
    drawn = sampler(cache)
    names = drawn.corpus_of(drawn.batch(0, 20000))
    for name, weight in WEIGHTS.items():
        assert np.mean(names == name) == pytest.approx(weight, abs=0.02)


def test_every_possible_start_is_drawn(cache):
    only = sampler(cache, weights={"other": 1.0})
    train = cache.episodes[(cache.episodes["corpus"] == "other") & (cache.episodes["split"] == "train")]
    starts = {offset + i for offset, count in zip(train["offset"], train["frames"], strict=True) for i in range(count - 3)}
    assert set(only.batch(0, 20000)[:, 0]) == starts


def test_the_fixed_set_is_the_same_for_every_seed_and_in_proportion(cache):
    one, other = (sampler(cache, split="val", seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(one.fixed(50), other.fixed(50))
    names, counts = np.unique(one.corpus_of(one.fixed(50)), return_counts=True)
    assert dict(zip(names, counts, strict=True)) == {"arm": 25, "hand": 15, "other": 10}
    assert len(one.fixed(7)) == 7


def test_a_batch_takes_less_than_a_millisecond(cache):
    drawn = sampler(cache)
    drawn.batch(0, 128)
    start = time.process_time()
    for step in range(100):
        drawn.batch(step, 128)
    assert (time.process_time() - start) / 100 < 1e-3


def test_wrong_weights_are_refused(cache):
    with pytest.raises(ValueError, match="corpus 'leg' is not in the clip cache"):
        sampler(cache, weights={"leg": 1.0})
    with pytest.raises(ValueError, match="corpus 'arm' has no train episode of 99 frames"):
        sampler(cache, weights={"arm": 1.0}, num_frames=99)
    with pytest.raises(ValueError, match="no corpus with a positive weight"):
        sampler(cache, weights={"arm": 0.0})


def test_groups_share_equally_and_missing_weight_goes_to_the_others():
    groups = {"sawyer": "oxe", "fetch": "oxe", "hand": "human", "bodies": "general"}
    mixture = mix(groups, {"oxe": 0.3, "agibot": 0.2, "human": 0.5})
    assert mixture.weights == pytest.approx({"fetch": 0.1875, "sawyer": 0.1875, "hand": 0.625})
    assert mixture.missing == {"agibot": 0.2} and "agibot" in str(mixture)
    with pytest.raises(ValueError, match="none of its groups"):
        mix({"bodies": "general"}, {"oxe": 1.0})


def test_partners_share_the_episode_where_they_can_then_the_corpus_and_all_clips_take_part(cache):
    clips = sampler(cache, split="val").fixed(40)
    partners = cache.partners(clips)
    assert len(set(partners)) >= 39 and (partners != np.arange(40)).all(), "all but the last clip left alone swap places"
    episode, corpus = cache.episode_of(clips), cache.corpus_of(clips)
    alone = np.array([(episode == own).sum() == 1 for own in episode])
    assert (episode[partners] == episode)[~alone].all() and (~alone).sum() > 20
    assert (corpus[partners] == corpus).mean() > 0.9
    assert cache.partners(clips[:1]).tolist() == [0]
