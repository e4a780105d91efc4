"""The probe against a solver of the same problem, against what must come out, and against data that it cannot judge."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import QuantileRegressor

from cola_world.evaluation.dimensions import dimensions
from cola_world.evaluation.probing import Known, ProbeConfig, action_scale, fit
from cola_world.evaluation.readings import probe

CONFIG = ProbeConfig(batch_size=128)
NAMES = ("x", "y", "z")


def losses(train: Known, test: Known, names: tuple[str, ...] = NAMES, config: ProbeConfig = CONFIG) -> dict[str, float]:
    """The paper's losses and those of grippers alone."""
    return {name: value for name, value, _ in probe(train, test, dimensions(names, len(names)), config) if name.count("/") == 1}


def known(latents: torch.Tensor, actions: torch.Tensor) -> Known:
    """Pairs whose picture changes as the first action does."""
    return Known(latents, actions, actions[:, 0] if len(actions) else actions.new_zeros(0))


def linear(pairs: int = 400, noise: float = 0.5, seed: int = 0) -> Known:
    """Eight latent values, of which three real actions are noisy sums; the noise has heavy tails."""
    rng = np.random.default_rng(seed)
    latents = rng.normal(size=(pairs, 8))
    actions = latents @ np.random.default_rng(7).normal(size=(8, 3)) + noise * rng.standard_t(2, size=(pairs, 3))
    return known(torch.from_numpy(latents).float(), torch.from_numpy(actions).float())


def normalised(actions: np.ndarray) -> np.ndarray:
    low, high = np.quantile(actions, [0.01, 0.99], axis=0)
    return np.clip(2 * (actions - low) / (high - low) - 1, -1, 1)


def test_the_loss_is_that_of_least_absolute_deviations():
    pairs = linear()
    wanted = normalised(pairs.actions_ND.numpy().astype(float))
    solver = QuantileRegressor(quantile=0.5, alpha=0, solver="highs")
    best = np.mean([np.abs(solver.fit(pairs.latents_NZ, y).predict(pairs.latents_NZ) - y).mean() for y in wanted.T])
    found = losses(pairs, pairs)
    assert best - 1e-6 <= found["probe/l1"] <= 1.005 * best
    median = np.abs(wanted - np.median(wanted, axis=0)).mean()
    assert found["probe/l1_median"] == pytest.approx(median, rel=1e-3)
    assert found["probe/skill"] == pytest.approx(1 - found["probe/l1"] / found["probe/l1_median"])


def test_a_latent_action_that_says_all_is_read_to_the_end():
    train, test = linear(noise=0, seed=1), linear(noise=0, seed=2)
    inside = [known(k.latents_NZ, k.actions_ND.tanh()) for k in (train, test)]
    shown = [known(k.actions_ND @ torch.randn(3, 16, generator=torch.Generator().manual_seed(0)) - 5, k.actions_ND) for k in inside]
    assert losses(*shown)["probe/skill"] > 0.97


@pytest.mark.parametrize("rounding", [0, 1e-7])
def test_one_code_for_all_has_the_skill_of_the_median(rounding):
    train, test = linear(), linear(seed=3)
    code = torch.linspace(-0.03, 0.03, 8)
    same = [known(code + rounding * k.latents_NZ.sign(), k.actions_ND) for k in (train, test)]
    found = losses(*same)
    assert abs(found["probe/skill"]) < 0.01 and found["probe/l1_std"] < 0.005


def test_a_code_that_training_pairs_hardly_have_does_no_harm():
    train, test = linear(), linear(seed=3)
    codes = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    chosen = torch.zeros(400, dtype=torch.long)
    chosen[0] = 1  # a single pair
    unseen = torch.arange(400) % 3
    found = losses(known(codes[chosen], train.actions_ND), known(codes[unseen], test.actions_ND))
    assert found["probe/skill"] > -0.5


def test_units_of_latents_and_of_actions_change_nothing():
    train, test = linear(), linear(seed=3)
    plain = losses(train, test)
    other = [known(1e-3 * k.latents_NZ + 0.02, 40 * k.actions_ND - 7) for k in (train, test)]
    assert losses(*other) == pytest.approx(plain, rel=2e-3, abs=2e-3)


def test_probes_are_trained_side_by_side_as_alone():
    inputs, wanted = linear().latents_NZ, linear().actions_ND
    together, alone = (fit(inputs, wanted, ProbeConfig(steps=20, batch_size=64, probes=count)) for count in (3, 1))
    torch.testing.assert_close(together[:1], alone)
    assert not torch.equal(together[0], together[1])


def test_motion_goes_by_percentiles_and_grippers_by_their_range():
    actions = torch.stack([torch.arange(101.0), torch.tensor([0.04] * 100 + [0.08])], 1)
    scale = action_scale(actions, torch.tensor([False, True]))
    values = scale.of(torch.tensor([[1.0, 0.04], [99.0, 0.08], [50.0, 0.06], [100.0, 0.1], [-5.0, 0.0]]))
    torch.testing.assert_close(values, torch.tensor([[-1.0, 0.0], [1.0, 1.0], [0.0, 0.5], [1.0, 1.0], [-1.0, 0.0]]), atol=1e-5, rtol=0)


def test_grippers_are_reported_apart_as_well():
    train, test = linear(), linear(seed=3)
    found = losses(train, test, ("x", "y", "gripper"))
    names = {name for name in found if not name.endswith("_gripper")}
    assert {name for name in found if name.endswith("_gripper")} == {f"{name}_gripper" for name in names}
    assert not [name for name in losses(train, test) if name.endswith("_gripper")]
    only = losses(*(known(k.latents_NZ, k.actions_ND[:, 2:]) for k in (train, test)), ("gripper",))
    assert found["probe/l1_gripper"] == pytest.approx(only["probe/l1"], rel=1e-3)
    assert found["probe/l1_median_gripper"] == pytest.approx(only["probe/l1_median"])


def test_the_interval_over_pairs_holds_the_loss_and_shrinks_with_their_number():
    train, test = linear(), linear(seed=3)
    few = known(test.latents_NZ[:20], test.actions_ND[:20])
    wide, narrow = (losses(train, pairs) for pairs in (few, test))
    for found in (wide, narrow):
        assert found["probe/l1_low"] < found["probe/l1"] < found["probe/l1_high"]
    widths = [found["probe/l1_high"] - found["probe/l1_low"] for found in (wide, narrow)]
    assert widths[0] > 1.5 * widths[1]


def spoilt(where: str, value: float) -> tuple[Known, Known]:
    train, test = linear(), linear(seed=3)
    {"latents": test.latents_NZ, "actions": train.actions_ND}[where][0, 0] = value
    return train, test


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ((linear(0), linear()), "the training split has no frame pair"),
        ((linear(), linear(0)), "the test split has no frame pair"),
        (spoilt("latents", float("nan")), "the test split has latent actions that are not finite"),
        (spoilt("actions", float("inf")), "the training split has real actions that are not finite"),
        ((linear(), known(linear().latents_NZ, linear().actions_ND.median(0).values.expand(400, 3))), "the test split has no spread"),
    ],
)
def test_what_cannot_be_judged_is_refused(pairs, message):
    with pytest.raises(ValueError, match=message):
        losses(*pairs)


@pytest.mark.parametrize("gripper", [False, True])
def test_a_dimension_without_spread_is_named(gripper):
    train = linear()
    train.actions_ND[:, 1] = 0.25
    with pytest.raises(ValueError, match=r"action dimension 1 \(.*lift\) has no spread: its training values lie at 0.25"):
        losses(train, linear(), ("pan", "gripper lift" if gripper else "lift", "roll"))


def test_a_dimension_that_hardly_ever_moves_has_no_spread():
    train = linear()
    train.actions_ND[2:, 1] = 0.0  # between the two percentiles it stands still
    with pytest.raises(ValueError, match=r"action dimension 1 \(y\) has no spread"):
        losses(train, linear())
