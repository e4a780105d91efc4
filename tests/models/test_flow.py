"""Rectified flow: its sign, its timesteps, its context frames."""

import pytest
import torch
from tiny import CONFIG, awake, system

from cola_world.models.flow import (
    FlowConfig,
    drop_actions,
    flow_loss,
    noised,
    resolution_ratio,
    sample_timesteps,
    shift_timesteps,
)  # fmt: skip


def test_ends_are_data_and_noise():
    x0, eps = torch.randn(2, 3, 4, 4, 4), torch.randn(2, 3, 4, 4, 4)
    assert torch.equal(noised(x0, eps, torch.zeros(2), 0)[0], x0)
    assert torch.equal(noised(x0, eps, torch.ones(2), 0)[0], eps)


def test_context_frames_stay_clean_and_out_of_the_loss():
    x0, eps = torch.randn(2, 3, 4, 4, 4), torch.randn(2, 3, 4, 4, 4)
    x_t, t_BT = noised(x0, eps, torch.full((2,), 0.7), 1)
    assert torch.equal(x_t[:, 0], x0[:, 0]) and (t_BT[:, 0] == 0).all() and (t_BT[:, 1:] == 0.7).all()
    velocity = x0 - eps
    velocity[:, 0] += 100
    assert flow_loss(velocity, x0, eps, 1).eq(0).all()


@pytest.mark.parametrize("frames", range(1, 33))
def test_shift_is_never_degenerate(frames):
    ratio = resolution_ratio(256, 256, frames)
    t = shift_timesteps(torch.linspace(0, 1, 11), ratio)
    assert ratio == pytest.approx(0.5 * frames**0.5)
    assert t[0] == 0 and t[-1] == pytest.approx(1) and (t.diff() > 0).all()


@pytest.mark.parametrize("frames", range(1, 33))
def test_training_draws_timesteps_shifted_for_the_length_of_its_clips(frames, monkeypatch):
    flow = {"timesteps": "uniform", "shift": "size", "context_frames": 0}
    model = system(config=CONFIG.model_copy(update={"flow": FlowConfig(**flow)})).world_model
    model.stdit3.config = model.stdit3.config.model_copy(update={"pixel_size": 256})
    seen = []
    monkeypatch.setattr(model.stdit3, "forward", lambda x, t_BT, modulation, fps_B: seen.append(t_BT) or x)
    latents = torch.randn(64, frames, 4, 4, 4)
    model.loss(latents, None, model.draw(latents.shape, torch.Generator().manual_seed(0), drop=False))
    drawn = torch.rand(64, generator=torch.Generator().manual_seed(0))
    ratio = 0.5 * frames**0.5
    expected = 1000 * ratio * drawn / (1 + (ratio - 1) * drawn)
    torch.testing.assert_close(seen[0], expected[:, None].expand(-1, frames))
    assert seen[0].min() > 0


@pytest.mark.parametrize("law", ["uniform", "logit-normal"])
def test_timesteps_lie_in_the_unit_interval(law):
    t = sample_timesteps(FlowConfig(timesteps=law), 4096, 1.0, torch.Generator().manual_seed(0))
    assert t.min() >= 0 and t.max() <= 1 and t.mean() == pytest.approx(0.5, abs=0.02)


def test_drop_zeroes_whole_actions_at_its_rate():
    draws = system().world_model.draw((4000, 4, 4, 4, 4), torch.Generator().manual_seed(0), drop=True)
    z = drop_actions(torch.ones(4000, 3, 8), draws.keep_BA)
    dropped = (z == 0).all(-1)
    assert ((z == 0).any(-1) == dropped).all()
    whole = dropped.all(-1).float().mean()
    assert whole == pytest.approx(0.1 + 0.9 * 0.1**3, abs=0.02), "the share of clips without any action"
    assert dropped.float().mean() == pytest.approx(0.1 + 0.9 * 0.1, abs=0.01)


def test_euler_steps_along_the_true_velocity_recover_the_data(monkeypatch):
    model, x0 = awake().world_model, torch.randn(1, 3, 4, 4, 4)

    def true_velocity(x, t_BT, modulation, past, fps_B):
        data = x0[:, 1:]
        t = (t_BT / 1000).clamp(min=1e-6)[:, :, None, None, None]
        return (data - x) / t

    monkeypatch.setattr(model.stdit3, "forward", true_velocity)
    sampled = model.sample(x0[:, :1], torch.zeros(1, 2, 64), torch.Generator().manual_seed(0))
    assert torch.allclose(sampled, x0, atol=1e-4)


def test_sampling_keeps_the_context():
    model, context = awake().world_model, torch.randn(2, 1, 4, 4, 4)
    sampled = model.sample(context, torch.randn(2, 3, 64), torch.Generator().manual_seed(0))
    assert sampled.shape == (2, 4, 4, 4, 4)
    assert torch.equal(sampled[:, :1], context)
