"""Bootstrap intervals: the same for the same clips, as wide as theory says, and the Fréchet distance as it is taken of one set."""

import pytest
import torch

from cola_world.metrics.frechet import frechet_distance, moments
from cola_world.metrics.intervals import distances, interval, of_distance, of_mean, resampled


def features(clips: int, size: int, shift: float = 0.0, seed: int = 0) -> torch.Tensor:
    return shift + torch.randn(clips, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_each_resample_draws_as_many_clips_as_there_are():
    counts = resampled(7, 100)
    assert counts.shape == (100, 7) and (counts.sum(1) == 7).all() and (counts >= 0).all()
    assert torch.equal(counts, resampled(7, 100)) and len(counts.unique(dim=0)) > 50


def test_an_interval_is_the_middle_of_its_values():
    low, high = interval(torch.arange(1001.0))
    assert (low, high) == pytest.approx((25, 975))


def test_the_mean_of_a_normal_has_the_interval_of_theory():
    values = features(400, 1)[:, 0]
    low, high = of_mean(values)
    error = 1.96 * values.std().item() / 20
    assert (low, high) == pytest.approx((values.mean().item() - error, values.mean().item() + error), abs=0.15 * error)


def test_equal_clips_have_no_spread():
    assert of_mean(torch.full((9,), 3.5)) == (3.5, 3.5)


@pytest.mark.parametrize("clips", [40, 6])
def test_distances_of_resamples_are_those_of_the_clips_that_they_draw(clips):
    """With full rank, and with fewer clips than features."""
    generated, real = features(clips, 8, 0.5), features(clips, 8, seed=1)
    counts = torch.stack((torch.ones(clips, dtype=torch.float64), *resampled(clips, 3)))
    found = distances(generated, real, counts)
    for value, drawn in zip(found, counts, strict=True):
        index = torch.arange(clips).repeat_interleave(drawn.long())
        assert value.item() == pytest.approx(frechet_distance(moments(generated[index]), moments(real[index])), abs=1e-5)


def test_the_interval_of_a_distance_is_about_the_measured_value():
    generated, real = features(60, 4, 0.5), features(60, 4, seed=1)
    value = frechet_distance(moments(generated), moments(real))
    low, high = of_distance(generated, real, value)
    assert 0 <= low < value < high
    assert (low, high) == of_distance(generated, real, value)
    assert of_distance(real, real, 0.0) == pytest.approx((0, 0), abs=1e-6)
