"""Codes that carry one thing and not another, and a reading that tells them apart."""

import numpy as np
import pytest
import torch

from cola_world.evaluation import closed_form
from cola_world.evaluation.dimensions import Dimension, dimensions
from cola_world.evaluation.pixels import frame_change
from cola_world.evaluation.probing import Known, ProbeConfig
from cola_world.evaluation.readings import probe

CONFIG = ProbeConfig(batch_size=128, quantile_pairs=400)
KINDS = dimensions(("x", "gripper", "pan", "tilt"), 4)
GROUPS = {"arm", "gripper", "camera", "arm_even", "camera_even", "frame_change"}


def pairs(show, seed: int, count: int = 400) -> Known:
    """Actions within [-1, 1], the gripper's open or closed, and latents that show what `show` makes of them."""
    generator = torch.Generator().manual_seed(seed)
    actions = 2 * torch.rand(count, 4, generator=generator) - 1
    actions[:, 1] = actions[:, 1].sign()
    return Known(show(actions), actions, actions[:, 2].abs() + 0.1 * torch.rand(count, generator=generator))


def read(show, **changes) -> dict[str, float]:
    return {name: value for name, value, _ in probe(pairs(show, 1), pairs(show, 2), KINDS, CONFIG, **changes)}


def pan_alone(actions: torch.Tensor) -> torch.Tensor:
    """Eight values that tell pan and nothing else."""
    return actions[:, 2:3] * torch.linspace(-1, 2, 8) + 3


def test_what_is_read_is_what_the_codes_carry():
    found = read(pan_alone, quantile=True)
    for name, carried in {"camera/pan": True, "camera/tilt": False, "arm/x": False}.items():
        for score in ("r2", "r2_ridge", "skill", "skill_quantile"):
            value = found[f"probe/{score}/{name}"]
            assert value > 0.9 if carried else abs(value) < 0.06, (score, name, value)
    assert found["probe/r2/camera"] == pytest.approx((found["probe/r2/camera/pan"] + found["probe/r2/camera/tilt"]) / 2)
    assert abs(found["probe/r2/camera_even"]) < 0.06 and abs(found["probe/r2/frame_change"]) < 0.06


def test_a_gripper_that_is_not_read_has_no_r2_by_ridge_and_less_by_l1():
    """Least absolute deviations say the commoner of two states, which is further from the mean than nothing."""
    found = read(pan_alone)
    assert abs(found["probe/r2_ridge/gripper"]) < 0.06 and abs(found["probe/skill/gripper"]) < 0.06
    assert found["probe/r2/gripper"] < -0.5


def test_codes_that_tell_how_much_and_not_where_to_show_in_even_targets_alone():
    found = read(lambda actions: actions[:, 2:].abs() @ torch.randn(2, 8, generator=torch.Generator().manual_seed(0)), quantile=True)
    assert found["probe/r2_ridge/camera_even"] > 0.99 and found["probe/skill_quantile/camera_even"] > 0.95
    assert found["probe/r2_ridge/frame_change"] > 0.9
    for name in ("camera", "arm", "gripper", "arm_even"):
        assert abs(found[f"probe/r2_ridge/{name}"]) < 0.06, name


def test_every_dimension_and_group_has_its_rows_and_closed_forms_theirs():
    dimensional = {f"{kind.group}/{kind.name}" for kind in KINDS}
    wanted = {f"probe/{score}/{name}" for score in ("r2", "skill", "r2_ridge") for name in GROUPS | dimensional}
    found = read(pan_alone)
    assert {name for name in found if name.count("/") > 1} == wanted
    more = {f"probe/skill_quantile/{name}" for name in GROUPS | dimensional}
    assert read(pan_alone, quantile=True).keys() - found.keys() == more


def test_skill_of_a_group_is_of_its_sums_and_that_of_all_is_the_papers():
    found = read(pan_alone)
    skills = [found[f"probe/skill/{kind.group}/{kind.name}"] for kind in KINDS]
    assert min(skills) < found["probe/skill"] < max(skills)
    assert found["probe/skill/gripper"] == pytest.approx(found["probe/skill_gripper"])


def test_what_does_not_vary_is_said_and_has_no_rows():
    train, test = pairs(pan_alone, 1), pairs(pan_alone, 2)
    train.actions_ND[:, 0] = train.actions_ND[:, 0].sign()  # |x| is 1 throughout
    test.actions_ND[:, 3] = 0.5
    rows = probe(train, test, KINDS, CONFIG)
    assert not [name for name, *_ in rows if name.endswith(("/arm_even", "/tilt"))]
    assert {"probe/r2/arm/x", "probe/r2/camera", "probe/r2/camera/pan"} <= {name for name, *_ in rows}
    assert all(how.endswith("; without spread in training: |x|; without spread in test: tilt, camera_even") for *_, how in rows)
    assert np.isfinite([value for _, value, _ in rows]).all()


def test_ridge_reads_noiseless_linear_data_to_the_end():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(8, 3))
    train, seen = rng.normal(size=(200, 8)), 0.2 * rng.normal(size=(50, 8))
    np.testing.assert_allclose(closed_form.ridge(train, train @ weights + 2, seen), seen @ weights + 2, atol=3e-3)
    np.testing.assert_allclose(closed_form.quantile(train, train @ weights + 2, seen, 200), seen @ weights + 2, atol=1e-6)


def test_nothing_is_said_that_no_training_pair_has():
    train, seen = np.linspace(-1, 1, 50)[:, None], np.array([[9.0]])
    for said in (closed_form.ridge(train, 2 * train, seen), closed_form.quantile(train, 2 * train, seen, 50)):
        np.testing.assert_allclose(said, [[2]], atol=1e-6)


def test_ridge_says_the_mean_and_quantile_regression_the_median_where_nothing_is_told():
    train, seen, wanted = np.zeros((5, 4)), np.zeros((2, 4)), np.array([[0.0, 0, 0, 1, 9]]).T
    np.testing.assert_allclose(closed_form.ridge(train, wanted, seen), [[2], [2]])
    np.testing.assert_allclose(closed_form.quantile(train, wanted, seen, 5), [[0], [0]], atol=1e-9)


def test_quantile_regression_is_on_no_more_pairs_than_told():
    train = np.arange(101.0)[:, None]
    wanted = np.where(train % 50 == 0, train, -1e6)  # the three that are read say what is on the line
    np.testing.assert_allclose(closed_form.quantile(train, wanted, np.array([[30.0]]), 3), [[30]], atol=1e-6)


def test_dimensions_are_told_apart_by_name():
    found = [kind.group for kind in dimensions(("shoulder_pan", "pan", "Tilt", "head_camera_yaw", "Left_Gripper.pos"), 5)]
    assert found == ["arm", "camera", "camera", "camera", "gripper"]
    for names in ((), ("x", "x")):
        assert dimensions(names, 2) == (Dimension("action0", "arm"), Dimension("action1", "arm"))


def test_the_change_of_the_picture_is_that_of_its_pixels():
    video = torch.zeros(1, 3, 3, 4, 4)
    video[:, 1] = 0.5
    video[:, 2, 0] = 0.5
    np.testing.assert_allclose(frame_change(video).exp() - 1 / 255, [[0.5, 1 / 3]], atol=1e-6)
