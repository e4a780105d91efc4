"""Sampling with the context read once gives what reading it at every step gives."""

import pytest
import torch

from cola_world.models.flow import shift_timesteps
from tests.tiny import system


def lively_model():
    """A tiny world model whose every path carries something: zero-initialised ones too."""
    torch.manual_seed(0)
    model = system().world_model
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    model.stdit3.set_causal(True)
    return model


def unconditional(model, z):
    """The modulation without any action or, frame by frame, without the frame's own."""
    if model.flow.unconditional == "all":
        return model.action_adaln(torch.zeros_like(z))
    modulation = model.action_adaln(z).clone()
    for action in range(z.shape[1]):
        without = z.clone()
        without[:, action] = 0
        modulation[:, action + 1] = model.action_adaln(without)[:, action + 1]
    return modulation


def plain_sample(model, context, z, generator):
    """Everything at every step, with and without actions one after the other."""
    frames, known = z.shape[1] + 1, context.shape[1]
    x = torch.randn(len(z), frames, *context.shape[2:], generator=generator)
    x[:, :known] = context
    times = shift_timesteps(torch.linspace(1, 0, model.flow.sampling_steps + 1), model.shift(frames, model.stdit3.side(*x.shape[-2:])))
    for now, after in zip(times[:-1], times[1:], strict=True):
        t = x.new_full(x.shape[:2], 1000 * float(now))
        t[:, :known] = 0
        with torch.no_grad():
            acted = model.stdit3(x, t, model.action_adaln(z))
            free = model.stdit3(x, t, unconditional(model, z))
        x[:, known:] += ((free + model.flow.guidance * (acted - free)) * (now - after))[:, known:]
    return x


def inputs(model, frames, known):
    torch.manual_seed(1)
    size = model.action_adaln.embed[0].in_features
    return torch.randn(2, known, 4, 4, 4), torch.randn(2, frames - 1, size)


@pytest.mark.parametrize("dropped", ["all", "own"])
@pytest.mark.parametrize(("frames", "known"), [(2, 1), (5, 1), (8, 4), (6, 5)])
def test_the_cached_sampler_equals_the_plain_one(frames, known, dropped):
    model = lively_model()
    model.flow = model.flow.model_copy(update={"unconditional": dropped})
    context, z = inputs(model, frames, known)
    plain = plain_sample(model, context, z, torch.Generator().manual_seed(2))
    cached = model.sample(context, z, torch.Generator().manual_seed(2))
    assert (plain[:, known:] - context[:, -1:]).abs().mean() > 0.1
    torch.testing.assert_close(cached, plain, rtol=1e-4, atol=1e-4)


def test_past_frames_are_looked_at():
    model = lively_model()
    context, z = inputs(model, 5, 2)
    first = model.sample(context, z, torch.Generator().manual_seed(2))
    other = model.sample(context + torch.tensor([1.0, 0.0]).view(1, 2, 1, 1, 1), z, torch.Generator().manual_seed(2))
    assert (first[:, 2:] - other[:, 2:]).abs().max() > 1e-3


@pytest.mark.parametrize("known", [1, 2])
def test_a_rollout_has_any_length_and_each_window_follows_from_its_context(known):
    model = lively_model()
    context, z = inputs(model, 11, known)
    video = torch.cat((context, *model.rollout(context, z, torch.Generator().manual_seed(2), window=4)), dim=1)
    assert video.shape[1] == 11
    generator = torch.Generator().manual_seed(2)
    first = model.sample(context, z[:, :3], generator)
    start = 4 - known
    second = model.sample(first[:, start:], z[:, start : start + 3], generator)
    torch.testing.assert_close(video[:, :4], first)
    torch.testing.assert_close(video[:, start : start + 4], second)


def test_a_rollout_no_longer_than_its_window_is_a_sample():
    model = lively_model()
    context, z = inputs(model, 4, 1)
    (imagined,) = model.rollout(context, z, torch.Generator().manual_seed(2), window=8)
    video = torch.cat((context, imagined), dim=1)
    torch.testing.assert_close(video, model.sample(context, z, torch.Generator().manual_seed(2)), rtol=0, atol=0)


def test_a_window_without_room_is_refused():
    model = lively_model()
    with pytest.raises(ValueError, match="a window of 2 frames has no room behind 2 of context; at least 3"):
        next(model.rollout(*inputs(model, 5, 2), torch.Generator(), window=2))


def test_guidance_1_is_the_conditional_model_alone_and_one_step_of_it_the_mean_prediction(monkeypatch):
    model = lively_model()
    context, z = inputs(model, 5, 1)
    noise = torch.randn(2, 5, 4, 4, 4)
    for steps in (1, 3):
        alone = model.denoise(context, z, noise, steps, 1.0)
        near = model.denoise(context, z, noise, steps, 1.0 + 1e-9)
        torch.testing.assert_close(alone, near, rtol=1e-4, atol=1e-4)
        assert (model.denoise(context, z, noise, steps, 4.0) - alone).abs().max() > 1e-2
    t = torch.full((2, 5), 1000.0)
    t[:, 0] = 0
    with torch.no_grad():
        velocity = model.stdit3(torch.cat((context, noise[:, 1:]), 1), t, model.action_adaln(z))
    torch.testing.assert_close(model.denoise(context, z, noise, 1, 1.0)[:, 1:], (noise + velocity)[:, 1:], rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(model, "unconditional", None)
    model.denoise(context, z, noise, 2, 1.0)
