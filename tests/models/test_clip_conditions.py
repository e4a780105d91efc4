"""What a clip tells the world model besides its pixels: its rate, its size, and timesteps as the public weights met them."""

import pytest
import torch

from benchmarks.public_form import PublicSTDiT3
from cola_world.models.flow import FlowDraws
from cola_world.models.stdit3 import STDiT3, STDiT3Config
from tests.models.test_public_form import PIXELS, SMALL, difference, randomised
from tests.tiny import awake


def model(**changes) -> STDiT3:
    torch.manual_seed(0)
    return randomised(STDiT3(STDiT3Config(**SMALL | {"pixel_size": PIXELS} | changes)))


def inputs(rows: int = 4, columns: int = 6):
    torch.manual_seed(1)
    return torch.randn(2, 3, 4, rows, columns), torch.tensor([730.3, 41.5])[:, None].expand(-1, 3)


@torch.no_grad()
def test_every_clip_has_its_own_rate():
    x, t_BT = inputs()
    mixed = model()(x, t_BT, fps_B=torch.tensor([24.0, 10.0]))
    for clip, fps in enumerate((24.0, 10.0)):
        alone = model(fps=fps)(x[clip : clip + 1], t_BT[clip : clip + 1])
        assert difference(mixed[clip : clip + 1], alone) < 3e-6
    assert difference(mixed[:1], model()(x[:1], t_BT[:1])) > 1e-3, "24 is not 10"


@torch.no_grad()
def test_the_sampler_and_the_loss_take_the_rate_too():
    world = awake().world_model
    torch.nn.init.normal_(world.stdit3.fps_embedder.mlp[2].weight)
    z, noise, fps = torch.randn(2, 2, 64), torch.randn(2, 3, 4, 4, 4), torch.tensor([24.0, 10.0])
    rated, usual = (world.denoise(noise[:, :1], z, noise, fps_B=rate) for rate in (fps, None))
    assert torch.allclose(rated[1], usual[1], atol=1e-5) and (rated[0] - usual[0]).abs().max() > 1e-3
    draws = FlowDraws(torch.tensor([0.5, 0.5]), noise, None)
    rated, usual = (world.loss(noise.flip(0), z, draws, rate) for rate in (fps, None))
    assert torch.allclose(rated[1], usual[1], atol=1e-5) and (rated[0] - usual[0]).abs() > 1e-5


@torch.no_grad()
def test_timesteps_are_those_that_weights_in_bf16_have_met():
    x, t_BT = inputs()
    rounded = torch.tensor([732.0, 41.5])[:, None].expand(-1, 3)  # above 512 every fourth
    assert torch.equal(model(bf16_timesteps=True)(x, t_BT), model()(x, rounded))
    assert difference(model()(x, t_BT), model()(x, rounded)) > 1e-6


@pytest.mark.parametrize(("rows", "columns"), [(5, 6), (4, 7), (5, 7)])
@torch.no_grad()
def test_odd_sides_are_padded_with_zeros_and_cut(rows, columns):
    x, t_BT = inputs(rows, columns)
    padded = torch.zeros(2, 3, 4, rows + rows % 2, columns + columns % 2)
    padded[..., :rows, :columns] = x
    found = model()(x, t_BT)
    assert found.shape == x.shape and torch.equal(found, model()(padded, t_BT)[..., :rows, :columns])


@torch.no_grad()
def test_the_size_of_a_clip_may_follow_from_its_latents():
    """Eight pixels a latent: a clip of 4 x 16 latents counts as one of 64 px, as the public form has it."""
    ours, public = model(pixel_size="clip"), PublicSTDiT3(**SMALL)
    public.load_state_dict(ours.state_dict())
    for rows, columns in ((4, 16), (16, 16)):
        x, t_B = torch.randn(1, 2, 4, rows, columns), torch.tensor([300.0])
        noised = torch.ones(1, 2, dtype=torch.bool)
        expected = public(x, t_B, noised, 10.0, 8 * (rows * columns) ** 0.5 / 512, None, True)
        assert difference(ours(x, t_B[:, None].expand(-1, 2)), expected) < 3e-6
