"""The quantiser against the paper's formula and against an independent implementation."""

import pytest
import torch
from vector_quantize_pytorch import VectorQuantize

from cola_world.models.quantizer import QuantizerConfig, VectorQuantizer


@pytest.fixture
def quantizer():
    torch.manual_seed(0)
    return VectorQuantizer(QuantizerConfig())


def test_codebook_has_the_papers_shape_and_start(quantizer):
    assert quantizer.codebook.shape == (32, 32)
    assert quantizer.codebook.abs().max() <= 1 / 32


def test_losses_and_gradients_equal_the_formula(quantizer):
    z = torch.randn(4, 3, 2, 32, requires_grad=True)
    out = quantizer(z)
    (out.vq_loss + out.commitment_loss).backward()
    difference = (z - quantizer.codebook[out.indices_BAM]).detach()
    assert torch.allclose(z.grad, 2 * difference / z.numel(), atol=1e-8)
    expected = torch.zeros_like(quantizer.codebook)
    expected.index_add_(0, out.indices_BAM.flatten(), -2 * difference.flatten(0, 2) / z.numel())
    assert torch.allclose(quantizer.codebook.grad, expected, atol=1e-7)


def test_equals_vector_quantize_pytorch(quantizer):
    oracle = VectorQuantize(
        dim=32, codebook_size=32, learnable_codebook=True, ema_update=False, rotation_trick=False,
        commitment_weight=1.0, threshold_ema_dead_code=0,
    )  # fmt: skip
    oracle._codebook.embed.data.copy_(quantizer.codebook.data[None])
    z = 0.05 * torch.randn(6, 2, 32)
    codes, indices, loss = oracle(z)
    ours = quantizer(z[:, None])
    assert torch.equal(ours.indices_BAM[:, 0], indices)
    assert torch.allclose(ours.z_BAMZ[:, 0], codes, atol=1e-6)
    assert torch.allclose(ours.vq_loss, loss.sum(), atol=1e-6)


def test_gradient_passes_straight_through(quantizer):
    z = torch.randn(1, 1, 2, 32, requires_grad=True)
    weight = torch.randn(1, 1, 2, 32)
    (quantizer(z).z_BAMZ * weight).sum().backward()
    assert torch.equal(z.grad, weight)
