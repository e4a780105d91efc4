"""Posterior metrics on posteriors whose health is known, and which metrics a run measures."""

import math

import pytest
import torch
from tiny import CONFIGS, RandomBatches, awake, system

from cola_world.metrics.posterior import posterior_metrics
from cola_world.training.health import measure
from cola_world.training.phases import phase_of


def gap(name: str) -> set[str]:
    return {f"{name}_gap{end}" for end in ("", "_low", "_high")}


GAPS = gap("shuffle") | gap("zero")
LATENT = {"latent/kl", "latent/active_units", "latent/std", "latent/mean_std"}


def test_collapsed_posterior():
    metrics = posterior_metrics(torch.zeros(10, 2, 4), torch.zeros(10, 2, 4))
    assert metrics == {"latent/kl": 0.0, "latent/active_units": 0.0, "latent/std": 1.0, "latent/mean_std": 0.0}


def test_two_of_eight_dimensions_speak():
    mean, log_variance = torch.zeros(1000, 2, 4), torch.zeros(1000, 2, 4)
    mean[:, 0, :2] = torch.tensor([1.0, -1.0]).repeat(500)[:, None]
    log_variance[:, 0, :2] = 2 * math.log(0.1)
    metrics = posterior_metrics(mean, log_variance)
    assert metrics["latent/kl"] == pytest.approx(2 * (1 + 0.01 - 1 - 2 * math.log(0.1)) / 2, rel=1e-5)
    assert metrics["latent/active_units"] == 0.25
    assert metrics["latent/std"] == pytest.approx((6 + 2 * 0.1) / 8)
    assert metrics["latent/mean_std"] == pytest.approx(2 / 8, rel=1e-3)


def test_a_constant_mean_is_not_active_however_large():
    assert posterior_metrics(torch.full((10, 2, 4), 5.0), torch.zeros(10, 2, 4))["latent/active_units"] == 0


def test_one_action_has_no_spread():
    with pytest.raises(ValueError, match="1 actions were given; at least two are needed"):
        posterior_metrics(torch.zeros(1, 2, 4), torch.zeros(1, 2, 4))


@pytest.mark.parametrize(
    ("phase", "others"),
    [("lam", {"pixel_mse", *gap("pixel")}), ("wm", {"flow_loss", *GAPS}), ("e2e", {"flow_loss", *GAPS})],
)
def test_a_vae_is_measured_by_its_posterior_and_not_by_codes(phase, others):
    heldout = RandomBatches().at(0, 5, crop=False)
    measured = measure(awake(config=CONFIGS["vae"]), phase_of(phase, "vae"), heldout, chunk=2)
    assert set(measured) == LATENT | others
    assert measured == measure(awake(config=CONFIGS["vae"]), phase_of(phase, "vae"), heldout, chunk=2)


def test_codes_are_measured_as_codes():
    measured = measure(awake(), phase_of("lam", "vq"), RandomBatches().at(0, 5, crop=False))
    assert not LATENT & set(measured) and {"codebook/utilization", "vq_loss", "pixel_mse"} <= set(measured)


def test_an_arm_without_actions_has_its_pixel_error_and_nothing_else():
    assert set(measure(awake(), phase_of("fdm", "vq"), RandomBatches().at(0, 5, crop=False))) == {"pixel_mse"}


@pytest.mark.parametrize("draws", [1, 3])
def test_gaps_of_a_system_that_hears_nothing_are_zero_and_those_of_one_that_hears_are_not(draws):
    heldout = RandomBatches().at(0, 8, crop=False)
    deaf = measure(system(), phase_of("e2e", "vq"), heldout, draws=draws)
    assert all(deaf[name] == 0 for name in GAPS)
    heard = measure(awake(), phase_of("e2e", "vq"), heldout, torch.arange(8).roll(3), draws=draws)
    for name in ("shuffle_gap", "zero_gap"):
        assert heard[f"{name}_low"] <= heard[name] <= heard[f"{name}_high"] and heard[f"{name}_low"] < heard[f"{name}_high"]
    own = measure(awake(), phase_of("e2e", "vq"), heldout, torch.arange(8), draws=draws)
    assert own["shuffle_gap"] == 0 and own["zero_gap"] == heard["zero_gap"], "a clip that is its own partner loses nothing"
