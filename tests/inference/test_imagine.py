"""Imagination behind a VAE that joins four frames to a latent."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import CONFIG, GROUPED, OPENSORA, awake

from cola_world.inference.actions import Actions, picture, read_frames
from cola_world.inference.imagine import continuations, imagine
from cola_world.models.opensora_vae import OpenSoraVAE
from cola_world.models.pixels import to_video
from cola_world.weights.hub import ActionWorldModel, Frames, ModelConfig

FRAMES = Frames(num_frames=5, size=18, crop=16)


@pytest.fixture
def model() -> ActionWorldModel:
    made = ActionWorldModel(ModelConfig(system=GROUPED, frames=FRAMES))
    made.load_state_dict(awake(config=GROUPED).world_model.state_dict())
    return made.eval()


@pytest.fixture
def vae() -> OpenSoraVAE:
    torch.manual_seed(0)
    return OpenSoraVAE(OPENSORA).eval()


@pytest.fixture
def frame(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(tmp_path / "frame.png")
    return tmp_path / "frame.png"


def actions(count: int) -> Actions:
    return Actions(torch.randn(count, 64, generator=torch.Generator().manual_seed(0)), Fraction(24))


def test_a_video_has_a_frame_an_action(model, vae, frame, tmp_path):
    assert imagine(frame, actions(8), model, vae, tmp_path / "out.mp4", lambda done, total: None) == 9
    assert len(list(read_frames(tmp_path / "out.mp4", 1))) == 9


@torch.no_grad()
def test_each_window_begins_with_the_last_frame_of_the_one_before(model, vae, frame):
    """A window holds five frames: the given one and four that one group of actions leads to."""
    first = picture(np.asarray(Image.open(frame)), FRAMES, 16)
    context, wanted = vae.encode(to_video(first[None, None])), actions(8)
    found = list(continuations(model, vae, context, wanted, torch.Generator().manual_seed(3)))
    again, fps = torch.Generator().manual_seed(3), torch.tensor([24.0])
    for part, z_BAZ in zip(found, wanted.z_AZ[None].split(4, dim=1), strict=True):
        video = vae.decode(model.sample(context, z_BAZ, again, fps), 5)
        assert torch.equal(part, video[0, 1:])
        context = vae.encode(video[:, -1:])


def test_what_does_not_fit_is_one_line(model, vae, frame, tmp_path):
    def message(*changed) -> str:
        with pytest.raises(ValueError) as error:
            imagine(frame, *changed, tmp_path / "out.mp4", lambda done, total: None)
        assert not (tmp_path / "out.mp4").exists()
        return str(error.value)

    assert message(actions(6), model, vae) == "actions: expected a multiple of 4, found 6; encode a video of 5 frames"
    assert message(actions(3), model, vae) == "actions: expected a multiple of 4, found 3; encode a video of 5 frames"
    plain = ActionWorldModel(ModelConfig(system=CONFIG, frames=FRAMES))
    assert message(actions(8), plain, vae) == "vae: expected one that joins 1 frames to a latent, found 4; take the run's own"
