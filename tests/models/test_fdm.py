"""The FDM imagines frame after frame, in the pixels that its loss compares."""

import pytest
import torch

from cola_world.models.fdm import FDM, FDMConfig

CONFIG = FDMConfig(image_size=16, patch_size=4, width=16, depth=1, heads=2, action_size=6)


@pytest.fixture
def fdm() -> FDM:
    torch.manual_seed(0)
    fdm = FDM(CONFIG)
    with torch.no_grad():
        fdm.out.weight.mul_(0.1)  # so that no picture leaves [0, 1], where it would be cut off
    return fdm


@torch.no_grad()
def test_its_loss_on_what_it_imagines_is_zero(fdm):
    """Layout of the patches and scale of the pixels are those of the loss: any other would leave an error."""
    frame, action = torch.rand(2, 3, 16, 16), torch.randn(2, 1, 6)
    imagined = fdm.imagine(frame, action)
    assert imagined.shape == (2, 1, 3, 16, 16) and imagined.min() > 0 and imagined.max() < 1, "nothing was cut off"
    video = torch.cat((frame[:, None], imagined), 1)
    assert fdm.loss(video, action).max() < 1e-10 < fdm.loss(video.flip(-1), action).min()


@torch.no_grad()
def test_each_frame_is_imagined_from_the_one_before(fdm):
    frame, action = torch.rand(2, 3, 16, 16), torch.randn(2, 3, 6)
    film = fdm.imagine(frame, action)
    assert torch.equal(film[:, 1:], fdm.imagine(film[:, 0], action[:, 1:]))
