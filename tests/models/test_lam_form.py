"""The IDM in the form of the published LAM, written out plainly from its description, with equal weights."""

import pytest
import torch
from torch.nn.functional import layer_norm, softmax

from cola_world.models.idm import IDM, AttentionPooling, IDMConfig, STBlock, read_pairs

CONFIG = IDMConfig(image_size=16, patch_size=8, width=16, depth=2, heads=2)


def filled(module: torch.nn.Module) -> torch.nn.Module:
    """Every weight random, so that none hides an error."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.3, generator=generator)
    return module


def rms(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return weight * x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    outs = []
    for head in range(heads):
        size = q.shape[-1] // heads
        own = slice(head * size, (head + 1) * size)
        outs.append(softmax(q[..., own] @ k[..., own].mT / size**0.5, -1) @ v[..., own])
    return torch.cat(outs, -1)


def test_queries_take_part_in_the_residual_and_a_norm_follows_each_addition():
    pooling = filled(AttentionPooling(CONFIG))
    x = torch.randn(3, 4, 16)
    y = pooling.pre(x)
    queries = pooling.queries.expand(3, -1, -1)
    read = pooling.proj(attend(pooling.q(queries), pooling.k(y), pooling.v(y), 2))
    pooled = rms(queries + read, pooling.attention_norm.weight)
    expected = pooling.out(rms(pooled + pooling.mlp(pooled), pooling.mlp_norm.weight))
    torch.testing.assert_close(pooling(x), expected, rtol=1e-5, atol=1e-6)


def test_one_gate_scales_the_attention_within_a_frame_and_along_time():
    block = filled(STBlock(16, 2))
    x, time = torch.randn(2, 3, 4, 16), torch.randn(3, 16)
    shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = block.scale_shift_table
    norm = lambda y: layer_norm(y, (16,), eps=1e-6)  # noqa: E731
    y = x + gate_1 * block.spatial((norm(x) * (1 + scale_1) + shift_1).flatten(0, 1)).unflatten(0, (2, 3))
    along = block.temporal((y + time[:, None]).transpose(1, 2).flatten(0, 1)).unflatten(0, (2, 4)).transpose(1, 2)
    y = y + gate_1 * along
    y = y + gate_2 * block.mlp(norm(y) * (1 + scale_2) + shift_2)
    torch.testing.assert_close(block(x, time), y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pairs", ["mean", "difference", "both"])
def test_each_way_to_read_a_pair(pairs):
    x = torch.randn(2, 3, 4, 16)
    before, after = x[:, :-1], x[:, 1:]
    expected = {"mean": (before + after) / 2, "difference": after - before, "both": torch.cat((before, after), -1)}[pairs]
    assert torch.equal(read_pairs(x, pairs), expected)
    idm = filled(IDM(CONFIG.model_copy(update={"pairs": pairs})))
    video = torch.rand(2, 3, 3, 16, 16)
    actions = idm(video)
    assert actions.shape == (2, 2, 2, 32)
    later = video.clone()
    later[:, 2] = 1 - later[:, 2]
    assert torch.equal(idm(later)[:, 0], actions[:, 0]) and (idm(later)[:, 1] - actions[:, 1]).abs().max() > 1e-3
