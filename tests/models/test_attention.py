"""Attention is the same function whichever kernel computes it."""

import pytest
import torch

from cola_world.models.layers import attend


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kernel", ["math", "plain"])
@pytest.mark.parametrize("length", [1, 5, 8])
def test_kernels_agree_in_values_and_gradients(kernel, causal, length):
    generator = torch.Generator().manual_seed(length)
    q, k, v, weight = (torch.randn(3, 2, length, 6, generator=generator) for _ in range(4))
    results = []
    for name in (None, kernel):
        inputs = [value.clone().requires_grad_() for value in (q, k, v)]
        out = attend(*inputs, causal=causal, kernel=name)
        (out * weight).sum().backward()
        results.append([out, *(value.grad for value in inputs)])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*results, strict=True))


def test_a_kernel_keeps_the_type_of_its_values():
    q, k, v = (torch.randn(2, 2, 4, 8).bfloat16() for _ in range(3))
    assert {attend(q, k, v, causal=True, kernel=kernel).dtype for kernel in (None, "math", "plain")} == {torch.bfloat16}
