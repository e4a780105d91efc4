"""Counts and shapes of the paper's size, on the meta device, and small shapes for real."""

import pytest
import torch
from tiny import awake, system

from cola_world.models.fdm import FDM, FDMConfig
from cola_world.models.idm import IDM, IDMConfig
from cola_world.models.stdit3 import STDiT3, STDiT3Config

LAM_SHAPE = {"image_size": 224, "patch_size": 14, "width": 768, "depth": 12, "heads": 12}


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: STDiT3(STDiT3Config(width=1152, depth=28, heads=16)), 904_066_628),
        (lambda: IDM(IDMConfig(**LAM_SHAPE)), 123.9e6),
        (lambda: FDM(FDMConfig(**LAM_SHAPE)), 114.4e6),
    ],
    ids=["stdit3", "idm", "fdm"],
)
def test_parameters_at_the_papers_size(build, expected):
    with torch.device("meta"):
        assert count(build()) == pytest.approx(expected, abs=0 if isinstance(expected, int) else 0.06e6)


def test_latent_actions_are_two_tokens_of_thirty_two():
    out = system().lam.latent_actions(torch.rand(3, 4, 3, 16, 16))
    assert out.z_BAMZ.shape == (3, 3, 2, 32) and out.indices_BAM.shape == (3, 3, 2)


def test_action_modulation_leaves_the_context_frame_alone():
    modulation = awake().world_model.action_adaln(torch.randn(2, 3, 64))
    assert modulation.shape == (2, 4, 6, 32)
    assert (modulation[:, 0] == 0).all() and (modulation[:, 1:] != 0).any()


def test_velocity_has_the_shape_of_the_latents():
    x = torch.randn(2, 3, 4, 4, 4)
    assert system().world_model.stdit3(x, torch.full((2, 3), 500.0)).shape == x.shape


def test_each_frame_is_modulated_by_its_own_timestep():
    stdit3, x = awake().world_model.stdit3, torch.randn(1, 1, 4, 4, 4)
    clean, noisy = stdit3(x, torch.zeros(1, 1)), stdit3(x, torch.full((1, 1), 900.0))
    pair = stdit3(torch.cat((x, x), dim=0), torch.tensor([[0.0], [900.0]]))
    assert torch.allclose(pair, torch.cat((clean, noisy)), atol=1e-6)
    assert not torch.allclose(clean, noisy)


def test_one_seed_starts_every_part_alike_whatever_else_is_built():
    a, b, other = system(1), system(1), system(2)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.lam.quantizer.codebook, other.lam.quantizer.codebook)
