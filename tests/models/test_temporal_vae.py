"""OpenSora's temporal VAE: the published names and sizes, its frames, and what may reach what in time."""

import pytest
import torch
from torch import nn

from cola_world.models.temporal_vae import TemporalVAE, TemporalVAEConfig

TINY = TemporalVAEConfig(width=8, res_blocks=1, groups=4)
# Some of the public file's names with their shapes, below `temporal_vae`.
PUBLISHED = {
    "encoder.conv_in.conv.weight": (128, 4, 3, 3, 3),
    "encoder.block_res_blocks.1.0.conv1.conv.weight": (256, 128, 3, 3, 3),
    "encoder.block_res_blocks.1.0.conv3.conv.weight": (256, 128, 1, 1, 1),
    "encoder.block_res_blocks.3.3.norm2.bias": (512,),
    "encoder.conv_blocks.1.conv.weight": (256, 256, 3, 3, 3),
    "encoder.conv_blocks.2.conv.bias": (256,),
    "encoder.res_blocks.3.conv2.conv.weight": (512, 512, 3, 3, 3),
    "encoder.norm1.weight": (512,),
    "encoder.conv2.conv.weight": (8, 512, 1, 1, 1),
    "quant_conv.conv.weight": (8, 8, 1, 1, 1),
    "post_quant_conv.conv.bias": (4,),
    "decoder.conv1.conv.weight": (512, 4, 3, 3, 3),
    "decoder.block_res_blocks.0.0.conv3.conv.weight": (128, 256, 1, 1, 1),
    "decoder.block_res_blocks.2.0.conv1.conv.weight": (256, 512, 3, 3, 3),
    "decoder.conv_blocks.1.conv.weight": (512, 256, 3, 3, 3),
    "decoder.conv_blocks.2.conv.bias": (1024,),
    "decoder.norm1.bias": (128,),
    "decoder.conv_out.conv.weight": (4, 128, 3, 3, 3),
}


def tiny() -> TemporalVAE:
    torch.manual_seed(0)
    return TemporalVAE(TINY).eval().requires_grad_(False)


def without_norms() -> TemporalVAE:
    model = tiny()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.GroupNorm):
                setattr(module, name, nn.Identity())
    return model


def test_names_and_shapes_are_the_published_ones():
    with torch.device("meta"):
        tensors = TemporalVAE(TemporalVAEConfig()).state_dict()
    assert {name: tuple(tensors[name].shape) for name in PUBLISHED} == PUBLISHED
    convolutions = [name for name in tensors if "norm" not in name]
    assert (len(convolutions), len(tensors)) == (103, 267)
    assert not [name for name in tensors if name.startswith(("encoder.conv_blocks.0", "decoder.conv_blocks.0"))]
    assert sum(tensor.numel() for tensor in tensors.values()) == 309_687_144


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (4, 1), (5, 2), (9, 3), (16, 4), (17, 5)])
def test_four_frames_make_a_latent_and_come_back(frames, latents):
    model, x = tiny(), torch.randn(2, 4, frames, 3, 5)
    z = model.encode(x)
    assert z.shape == (2, 4, latents, 3, 5)
    assert model.decode(z, frames).shape == x.shape


@pytest.mark.parametrize("frame", range(9))
def test_a_frame_reaches_its_own_latent_and_later_ones(frame):
    model, x = without_norms(), torch.randn(1, 4, 9, 3, 3)
    changed = x.clone()
    changed[:, :, frame] += 1.0
    own = -(-frame // 4)
    before, after = model.encode(x), model.encode(changed)
    assert torch.equal(before[:, :, :own], after[:, :, :own])
    assert not torch.allclose(before[:, :, own], after[:, :, own])


@pytest.mark.parametrize("latent", range(3))
def test_a_latent_reaches_its_own_frames_and_later_ones(latent):
    model, z = without_norms(), torch.randn(1, 4, 3, 3, 3)
    changed = z.clone()
    changed[:, :, latent] += 1.0
    first = max(0, 4 * latent - 3)
    before, after = model.decode(z, 9), model.decode(changed, 9)
    assert torch.equal(before[:, :, :first], after[:, :, :first])
    assert not torch.allclose(before[:, :, first], after[:, :, first])


def test_the_published_norms_do_look_ahead():
    """Their statistics are over all frames of a clip, so the first latent is its own only up to a shared scale."""
    model, x = tiny(), torch.randn(1, 4, 9, 3, 3)
    changed = x.clone()
    changed[:, :, -1] += 1.0
    assert not torch.equal(model.encode(x)[:, :, 0], model.encode(changed)[:, :, 0])
