"""Pixels that show a motion, and a network that can be taught one: both ceilings read it, and nothing that is not there."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from tiny import CONFIG

from cola_world.data.clips import ClipsConfig
from cola_world.evaluation.ceilings import CeilingPlan, measure_ceilings
from cola_world.evaluation.pixels import pixel_features
from cola_world.evaluation.probing import ProbeConfig
from cola_world.models.lam import LAMConfig
from cola_world.running.folders import Folders

EPISODES, FRAMES = 30, 11


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Folders:
    """A corpus of drifting waves, whose actions are the drift aside and noise."""
    folders, rng = Folders(tmp_path_factory.mktemp("waves")), np.random.default_rng(0)
    speed = rng.uniform(-0.6, 0.6, (EPISODES, FRAMES))
    place = np.cumsum(speed, 1) - speed
    angle = 0.7 * (np.arange(18)[None, None, None] - place[..., None, None]) + 0.4 * np.arange(18)[:, None]
    pictures = np.repeat((127 + 100 * np.sin(angle))[..., None], 3, -1).reshape(-1, 18, 18, 3)
    actions = np.stack([speed, rng.normal(size=speed.shape)], -1).reshape(-1, 2)
    rows = [
        {
            "corpus": "waves", "group": "oxe", "episode": number, "split": "val" if number % 5 == 0 else "train", "offset": number * FRAMES,
            "frames": FRAMES, "fps": 10.0, "action_dim": 2, "stride": 1, "action_names": "pan,noise", "evaluation_only": False,
        }
        for number in range(EPISODES)
    ]  # fmt: skip
    folders.clips.mkdir(parents=True)
    np.save(folders.clips / "frames.npy", pictures.astype(np.uint8))
    np.save(folders.clips / "actions.npy", actions.astype(np.float32))
    pd.DataFrame(rows).to_parquet(folders.clips / "episodes.parquet")
    return folders


def plan(**changes) -> CeilingPlan:
    lam = {name: getattr(CONFIG, name) for name in LAMConfig.model_fields}
    system = LAMConfig(**(lam | {"idm": CONFIG.idm.model_copy(update={"pairs": "difference"})}))
    clips = ClipsConfig(size=18, crop=16, views=2, num_frames=3)
    values = {"scale": "smoke", "seed": 3, "corpora": ["waves"], "clips": clips, "system": system, "workers": 1}
    return CeilingPlan(**(values | {"probe": ProbeConfig(batch_size=64, supervised_steps=150)} | changes))


@pytest.mark.slow
def test_both_ceilings_read_the_motion_and_not_the_noise(folders):
    measure_ceilings(plan(), folders)
    rows = pd.read_csv(folders.runs / "ceilings" / "ceilings.csv")
    assert set(rows["run"]) == {"pixels", "supervised_idm"} and set(rows["seed"]) == {3} and set(rows["snapshot"]) == {0}
    found = rows.set_index(["run", "metric"])["value"]
    for name, least in (("pixels", 0.95), ("supervised_idm", 0.8)):
        assert found[name, "probe/r2_ridge/camera"] > least and found[name, "probe/r2_ridge/arm"] < 0.1
    assert {how.partition(";")[0] for how in rows["protocol"]} == {"optical flow and differences", "supervised IDM, 150 steps"}


def test_a_fault_names_ceiling_and_corpus(folders):
    with pytest.raises(ValueError, match="pixels, corpus 'legs': pairs: corpus 'legs' is not in the clip cache; it holds waves"):
        measure_ceilings(plan(corpora=["legs"]), folders)


def test_without_corpora_there_are_no_rows(folders):
    measure_ceilings(plan(corpora=[]), folders)
    assert pd.read_csv(folders.runs / "ceilings" / "ceilings.csv").empty


def test_the_plan_is_read_as_it_was_written():
    assert CeilingPlan.model_validate_json(json.dumps(plan().model_dump())) == plan()


@pytest.mark.parametrize("motion", [(0.5, 0.0), (0.0, -0.5), (0.3, 0.4)])
def test_flow_is_the_motion_of_the_picture(motion):
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    drawn = [0.5 + 0.2 * torch.sin(0.4 * (x - t * motion[0])) + 0.2 * torch.cos(0.5 * (y - t * motion[1])) for t in range(2)]
    found = pixel_features(torch.stack(drawn)[None, :, None].expand(1, 2, 3, 32, 32))[0, 0, :32].view(2, 16)
    torch.testing.assert_close(found, torch.tensor(motion)[:, None].expand(2, 16), atol=0.06, rtol=0)


def test_features_of_a_still_picture_are_nothing_and_large_ones_are_shrunk():
    video = torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    still = pixel_features(video.expand(2, 3, 3, 64, 64))
    assert still.shape == (2, 2, 3 * 16 + 3 * 64) and not still.any()
    moved = torch.cat((video, video.roll(2, -1)), 1)
    small = F.interpolate(moved.flatten(0, 1), size=(32, 32), mode="bilinear", antialias=True).unflatten(0, (2, 2))
    torch.testing.assert_close(pixel_features(moved), pixel_features(small))
