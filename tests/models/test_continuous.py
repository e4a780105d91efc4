"""The VAE bottleneck against torch's own distributions, its floor, and its random numbers."""

import pytest
import torch
from tiny import CONTINUOUS, system
from torch.distributions import Normal, kl_divergence

from cola_world.models.continuous import ContinuousBottleneck, ContinuousConfig, action_kl


def bottleneck(kl_min: float = 10.0) -> ContinuousBottleneck:
    torch.manual_seed(0)
    return ContinuousBottleneck(ContinuousConfig(kl_min=kl_min), token_size=32)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_kl_of_an_action_is_the_sum_over_its_dimensions():
    mean, log_variance = torch.randn(4, 3, 2, 32), torch.randn(4, 3, 2, 32)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum((-2, -1))
    assert action_kl(mean, log_variance).shape == (4, 3)
    assert torch.allclose(action_kl(mean, log_variance), expected, atol=1e-4)


def test_kl_loss_is_the_mean_over_actions():
    out = bottleneck(kl_min=0.0)(torch.randn(4, 3, 2, 32))
    assert out.losses()["kl"] == action_kl(out.mean_BAMZ, out.log_variance_BAMZ).mean()


@pytest.mark.parametrize(("scale", "held"), [(0.1, True), (10.0, False)])
def test_below_the_floor_the_kl_pulls_no_more(scale, held):
    module = bottleneck()
    loss = module(scale * torch.randn(4, 3, 2, 32, generator=generator())).kl_loss
    loss.backward()
    assert (loss == 10.0) == held
    assert bool((module.moments.weight.grad == 0).all()) == held


def test_a_sample_has_the_mean_and_spread_of_the_posterior():
    module, x = bottleneck(), torch.randn(1, 1, 2, 32, generator=generator())
    out = module(x.expand(20000, -1, -1, -1), torch.randn(20000, 1, 2, 32, generator=generator(1)))
    spread = (out.log_variance_BAMZ[0] / 2).exp()
    assert torch.allclose(out.z_BAMZ.mean(0), out.mean_BAMZ[0], atol=0.1)
    assert torch.allclose(out.z_BAMZ.std(0) / spread, torch.ones_like(spread), atol=0.05)


def test_without_noise_it_is_the_mean():
    out = bottleneck()(torch.randn(2, 3, 2, 32))
    assert torch.equal(out.z_BAMZ, out.mean_BAMZ)


def test_gradient_passes_through_the_sample():
    module, x = bottleneck(kl_min=0.0), torch.randn(2, 3, 2, 32, requires_grad=True)
    module(x, torch.randn(2, 3, 2, 32)).z_BAMZ.square().sum().backward()
    assert (x.grad.abs().sum((0, 1)) > 0).all() and (module.moments.weight.grad.abs().sum(1) > 0).all()


def test_the_system_gives_it_the_same_shape_as_codes_at_the_gain():
    louder = CONTINUOUS.model_copy(update={"action_gain": 3.0})
    video = torch.rand(3, 4, 3, 16, 16)
    out = system(config=louder).lam.latent_actions(video)
    assert out.z_BAMZ.shape == (3, 3, 2, 32)
    assert torch.equal(out.z_BAMZ, 3 * out.mean_BAMZ)


def test_everything_but_the_bottleneck_starts_alike():
    vq, vae = system(), system(config=CONTINUOUS)
    for name in ("idm", "fdm", "action_adaln", "stdit3"):
        pairs = zip(vq.parts()[name].parameters(), vae.parts()[name].parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
