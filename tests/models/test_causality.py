"""Nothing that comes later may change what came before (paper B.2)."""

import pytest
import torch
from tiny import awake

FRAMES = 5


@pytest.mark.parametrize("frame", range(1, FRAMES))
def test_idm_action_depends_on_frames_up_to_its_pair(frame):
    idm, video = awake().lam.idm, torch.rand(2, FRAMES, 3, 16, 16)
    changed = video.clone()
    changed[:, frame] += 0.5
    before, after = idm(video), idm(changed)
    assert torch.equal(before[:, : frame - 1], after[:, : frame - 1])
    assert not torch.allclose(before[:, frame - 1], after[:, frame - 1])


@pytest.mark.parametrize("action", range(FRAMES - 1))
def test_action_changes_only_later_frames(action):
    model, x, t = awake().world_model, torch.randn(2, FRAMES, 4, 4, 4), torch.full((2, FRAMES), 500.0)
    z = torch.randn(2, FRAMES - 1, 64)
    changed = z.clone()
    changed[:, action] += 1.0
    before, after = (model.stdit3(x, t, model.action_adaln(a)) for a in (z, changed))
    assert torch.equal(before[:, : action + 1], after[:, : action + 1])
    assert not torch.allclose(before[:, action + 1], after[:, action + 1])


@pytest.mark.parametrize("frame", range(1, FRAMES))
def test_world_model_frame_changes_only_itself_and_later(frame):
    stdit3, x, t = awake().world_model.stdit3, torch.randn(2, FRAMES, 4, 4, 4), torch.full((2, FRAMES), 500.0)
    changed = x.clone()
    changed[:, frame] += 1.0
    before, after = stdit3(x, t), stdit3(changed, t)
    assert torch.allclose(before[:, :frame], after[:, :frame], atol=1e-6)
    assert not torch.allclose(before[:, frame:], after[:, frame:], atol=1e-3)


def test_without_the_mask_later_frames_do_reach_earlier_ones():
    stdit3, x, t = awake().world_model.stdit3, torch.randn(2, FRAMES, 4, 4, 4), torch.full((2, FRAMES), 500.0)
    stdit3.set_causal(False)
    changed = x.clone()
    changed[:, -1] += 1.0
    assert not torch.allclose(stdit3(x, t)[:, 0], stdit3(changed, t)[:, 0], atol=1e-4)
