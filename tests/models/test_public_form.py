"""STDiT3 gives what the public design in its straightforward form gives, from the same state dict."""

import pytest
import torch

from benchmarks.plain import public_sample, sample_without_cache
from benchmarks.public_form import PublicSTDiT3
from cola_world.models.action_adaln import ActionAdaLN, ActionAdaLNConfig
from cola_world.models.flow import FlowConfig
from cola_world.models.stdit3 import STDiT3, STDiT3Config
from cola_world.models.world_model import WorldModel

XL = {"width": 1152, "depth": 28, "heads": 16}
SMALL = {"width": 48, "depth": 3, "heads": 2}
PIXELS = 64


def randomised(module):
    """Every parameter with a value that matters, also where the initial one is zero or one."""
    for name, parameter in module.named_parameters():
        if name != "rope.freqs":
            torch.nn.init.normal_(parameter, mean=float("norm.weight" in name), std=0.5 / max(1, parameter.shape[-1]) ** 0.5)
    return module


def pair():
    torch.manual_seed(0)
    ours = randomised(STDiT3(STDiT3Config(**SMALL, pixel_size=PIXELS)))
    public = PublicSTDiT3(**SMALL)
    public.load_state_dict(ours.state_dict())
    return ours, public


def difference(found, expected) -> float:
    """The largest, as a share of the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("acted", [False, True])
@pytest.mark.parametrize(("frames", "context", "rows", "columns"), [(1, 0, 4, 4), (2, 1, 4, 6), (5, 0, 6, 4), (8, 4, 8, 8)])
@torch.no_grad()
def test_equals_the_public_form(frames, context, rows, columns, acted, causal):
    ours, public = pair()
    ours.set_causal(causal)
    x, t_B = torch.randn(2, frames, 4, rows, columns), torch.tensor([730.0, 41.5])
    action = torch.randn(2, frames, 6, SMALL["width"]) if acted else None
    noised = torch.arange(frames).expand(2, -1) >= context
    expected = public(x, t_B, noised, 10.0, PIXELS / 512, action, causal)
    assert expected.abs().mean() > 0.05
    assert difference(ours(x, t_B[:, None] * noised, action), expected) < 3e-6


@torch.no_grad()
def test_one_modulation_a_frame_equals_picking_from_two():
    ours, public = pair()
    x, noised, clean = torch.randn(2, 5, 6, 48), torch.randn(2, 1, 6, 48), torch.randn(2, 1, 6, 48)
    mask = torch.arange(5).expand(2, -1) >= torch.tensor([[1], [3]])
    expected = public.spatial_blocks[0](x, noised, clean, mask, public.rope, False)
    assert difference(ours.spatial_blocks[0](x, torch.where(mask[:, :, None, None], noised, clean)), expected) < 1e-6


@torch.no_grad()
def test_what_is_added_to_the_public_model_can_be_switched_off():
    ours, public = pair()
    x, t_B = torch.randn(2, 4, 4, 4, 4), torch.tensor([500.0, 900.0])
    everything = torch.ones(2, 4, dtype=torch.bool)
    original = public(x, t_B, everything, 10.0, PIXELS / 512)
    ours.set_causal(True)
    masked = ours(x, t_B[:, None].expand(-1, 4))
    ours.set_causal(False)
    assert difference(ours(x, t_B[:, None].expand(-1, 4)), original) < 3e-6
    assert difference(masked, original) > 1e-3


@pytest.mark.parametrize(("frames", "context"), [(8, 1), (8, 4)])
def test_sampler_equals_the_public_form(frames, context):
    ours, public = pair()
    action_adaln = randomised(ActionAdaLN(ActionAdaLNConfig(depth=1, heads=2), 64, SMALL["width"]))
    model = WorldModel(ours, action_adaln, FlowConfig(shift=2.0))
    ours.set_causal(True)
    known, z = torch.randn(2, context, 4, 4, 4), torch.randn(2, frames - 1, 64)
    expected = public_sample(public, model, known, z, torch.Generator().manual_seed(0))
    assert difference(model.sample(known, z, torch.Generator().manual_seed(0)), expected) < 1e-4
    uncached = sample_without_cache(model, known, z, torch.Generator().manual_seed(0))
    assert difference(uncached, expected) < 1e-4


def test_parameters_and_names_of_the_public_state_dict():
    with torch.device("meta"):
        ours, bare, text = STDiT3(STDiT3Config(**XL)), PublicSTDiT3(**XL), PublicSTDiT3(**XL, text=True)
    shapes = [{name: p.shape for name, p in model.named_parameters()} for model in (ours, bare, text)]
    assert shapes[0] == shapes[1]
    assert {n: s for n, s in shapes[2].items() if "cross_attn" not in n and "y_embedder" not in n} == shapes[0]
    counts = [sum(shape.numel() for shape in own.values()) for own in shapes]
    assert counts == [904_066_628, 904_066_628, 1_207_643_972]
