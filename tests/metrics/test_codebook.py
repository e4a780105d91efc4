"""Codebook metrics on histograms whose answers are known."""

import math

import pytest
import torch

from cola_world.metrics.codebook import codebook_metrics


def test_one_code_is_collapse():
    metrics = codebook_metrics(torch.full((100, 2), 7), 32)
    assert metrics["codebook/utilization"] == 1 / 32
    assert metrics["codebook/max_usage"] == 1.0
    assert metrics["codebook/entropy"] == 0.0 and metrics["codebook/utilization_joint"] == 1 / 100


def test_all_codes_alike_is_full_health():
    indices = torch.cartesian_prod(torch.arange(32), torch.arange(32))
    metrics = codebook_metrics(indices, 32)
    for suffix in ("", "_token0", "_token1", "_joint"):
        assert metrics[f"codebook/utilization{suffix}"] == 1.0
        assert metrics[f"codebook/entropy_normalized{suffix}"] == pytest.approx(1.0)
    assert metrics["codebook/entropy"] == pytest.approx(math.log(32))


def test_tokens_that_use_one_code_each_look_healthier_pooled_than_apart():
    metrics = codebook_metrics(torch.tensor([[3, 5]] * 10), 32)
    assert metrics["codebook/max_usage"] == 0.5 and metrics["codebook/entropy"] == pytest.approx(math.log(2))
    assert metrics["codebook/max_usage_token0"] == metrics["codebook/max_usage_joint"] == 1.0


def test_no_actions_is_an_error():
    with pytest.raises(ValueError, match="at least one action"):
        codebook_metrics(torch.empty(0, 2, dtype=torch.long), 32)


@pytest.mark.parametrize("actions", [1, 50, 1024, 3000])
def test_pairs_are_counted_against_what_so_many_actions_can_show(actions):
    pairs = torch.cartesian_prod(torch.arange(32), torch.arange(32)).repeat(3, 1)[:actions]
    metrics = codebook_metrics(pairs, 32)
    assert metrics["codebook/utilization_joint"] == 1.0
    assert metrics["codebook/entropy_normalized_joint"] == pytest.approx(1.0 if actions > 1 else 0.0, abs=0.01)
    assert "codebook/entropy_joint" not in metrics, "in nats it could not reach ln 1024 with fewer actions"
