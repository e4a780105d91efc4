"""Actions grouped to latent frames: alignment, guidance, lengths."""

import pytest
import torch
from tiny import GROUPED, awake


def test_actions_of_a_group_stand_end_to_end():
    z = torch.arange(2 * 8 * 3).view(2, 8, 3)
    grouped = awake(config=GROUPED).world_model.action_adaln.group(z)
    assert grouped.shape == (2, 2, 12)
    assert torch.equal(grouped[1, 1], z[1, 4:8].flatten())


def test_without_grouping_nothing_changes():
    z = torch.randn(2, 3, 64)
    assert torch.equal(awake().world_model.action_adaln.group(z), z)


@pytest.mark.parametrize("action", range(8))
def test_an_action_reaches_its_own_latent_frame_and_later_ones(action):
    """Of 1 + 8 frames in 1 + 2 latents, actions 0 to 3 lead to the frames of latent 1, actions 4 to 7 to those of latent 2."""
    model = awake(config=GROUPED).world_model
    x, t, z = torch.randn(2, 3, 4, 4, 4), torch.full((2, 3), 500.0), torch.randn(2, 8, 64)
    changed = z.clone()
    changed[:, action] += 1.0
    before, after = (model.stdit3(x, t, model.action_adaln(model.action_adaln.group(a))) for a in (z, changed))
    own = 1 + action // 4
    assert torch.equal(before[:, :own], after[:, :own])
    assert not torch.allclose(before[:, own], after[:, own])


def test_guidance_drops_whole_groups(monkeypatch):
    model, seen = awake(config=GROUPED).world_model, []
    model.flow = model.flow.model_copy(update={"action_drop": 0.5})
    forward = model.action_adaln.forward
    monkeypatch.setattr(model.action_adaln, "forward", lambda z: seen.append(z) or forward(z))
    x = torch.randn(64, 3, 4, 4, 4)
    model.loss(x, torch.ones(64, 8, 64), model.draw(x.shape, torch.Generator().manual_seed(0), drop=True))
    dropped = (seen[0] == 0).all(-1)
    assert torch.equal(dropped, (seen[0] == 0).any(-1)) and 0.3 < dropped.float().mean() < 0.7


def test_imagining_gives_one_latent_a_group():
    context, z = torch.randn(2, 1, 4, 4, 4), torch.randn(2, 8, 64)
    sampled = awake(config=GROUPED).world_model.sample(context, z, torch.Generator().manual_seed(0))
    assert sampled.shape == (2, 3, 4, 4, 4) and torch.equal(sampled[:, :1], context)


def test_a_rest_is_refused():
    with pytest.raises(ValueError, match="7 actions do not make groups of 4; a clip needs 1 \\+ 4 n frames"):
        awake(config=GROUPED).world_model.action_adaln.group(torch.randn(1, 7, 64))
