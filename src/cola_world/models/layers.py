"""Layers that more than one box of the architecture is made of.

Shape letters: N any batch, L sequence, D width, H heads, K head size, P grid points.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

Function = TypeVar("Function", bound=Callable)
Kernel = Literal["flash", "efficient", "cudnn", "math", "plain"]
FUSED = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}


def in_fp32(function: Function) -> Function:
    """Without autocast, on whatever device: for what rounding must not decide. Its inputs are cast by the function itself."""
    return torch.autocast("cuda", enabled=False)(torch.autocast("cpu", enabled=False)(function))


class RotaryEmbedding(nn.Module):
    """Rotary position embedding over interleaved pairs; `freqs` stands in the public state dict as `rope.freqs`."""

    def __init__(self, head_size: int, theta: float = 10000.0):
        super().__init__()
        exponents = torch.arange(0, head_size, 2).float() / head_size
        self.freqs = nn.Parameter(theta**-exponents, requires_grad=False)

    def forward(self, length: int, start: int = 0) -> tuple[Tensor, Tensor]:
        """cos and sin of positions start, start + 1, …: [length, head_size], each frequency twice in a row."""
        angles_LK = torch.outer(torch.arange(start, start + length, device=self.freqs.device).float(), self.freqs)
        angles_LK = angles_LK.repeat_interleave(2, dim=-1)
        return angles_LK.cos(), angles_LK.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (x0, x1) of the last axis by its angle."""
    turned = torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)
    return (x.float() * cos + turned.float() * sin).to(x.dtype)


class Past:
    """Keys and values of what an attention has seen first, so that it need not see it again with all that follows."""

    def __init__(self):
        self.key: Tensor | None = None
        self.value: Tensor | None = None

    def join(self, k_NHLK: Tensor, v_NHLK: Tensor) -> tuple[Tensor, Tensor]:
        """What was seen first, and these; the first call's own are what is kept."""
        if self.key is None:
            self.key, self.value = k_NHLK, v_NHLK
            return k_NHLK, v_NHLK
        return torch.cat((self.key, k_NHLK), 2), torch.cat((self.value, v_NHLK), 2)


def attend(q_NHLK: Tensor, k_NHLK: Tensor, v_NHLK: Tensor, causal: bool, kernel: Kernel | None) -> Tensor:
    """Softmax attention by a kernel's name; None leaves the choice to torch."""
    if kernel == "plain":
        return attend_plainly(q_NHLK, k_NHLK, v_NHLK, causal)
    with sdpa_kernel(FUSED[kernel]) if kernel else nullcontext():
        return F.scaled_dot_product_attention(q_NHLK, k_NHLK, v_NHLK, is_causal=causal)


def attend_plainly(q_NHLK: Tensor, k_NHLK: Tensor, v_NHLK: Tensor, causal: bool) -> Tensor:
    """Attention as products and sums, for the few frames of a clip, where a fused kernel would fill a tile of 64 with 8 rows.

    Only a compiler makes it cheap: it keeps the products [N, H, L, L, K] in registers, and eager torch in memory.
    """
    q, k, v = q_NHLK.float(), k_NHLK.float(), v_NHLK.float()
    scores_NHLL = (q[..., :, None, :] * k[..., None, :, :]).sum(-1) * q.shape[-1] ** -0.5
    if causal:
        later_LL = torch.ones(scores_NHLL.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores_NHLL = scores_NHLL.masked_fill(later_LL, float("-inf"))
    return (scores_NHLL.softmax(-1)[..., None] * v[..., None, :, :]).sum(-2).to(v_NHLK.dtype)


class Attention(nn.Module):
    """Multi-head self-attention with a norm on queries and keys, computed in fp32 before the rotation.

    `norm` is `nn.RMSNorm` in STDiT3 and `nn.LayerNorm` in the LAM. Built causal, it runs along time, whether or not the mask
    is switched off later. `kernel` may be set to what is fastest on a device.
    """

    kernel: Kernel | None = None

    def __init__(self, width: int, heads: int, norm: type[nn.Module] = nn.LayerNorm, causal: bool = False):
        super().__init__()
        assert width % heads == 0
        self.heads, self.causal = heads, causal
        self.along: Literal["time", "space"] = "time" if causal else "space"
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm = norm(width // heads, eps=1e-6)
        self.k_norm = norm(width // heads, eps=1e-6)
        self.proj = nn.Linear(width, width)

    def project(self, x_NLD: Tensor, rotary: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [N, H, L, K]."""
        q, k, v = self.qkv(x_NLD).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q.float()).to(v.dtype), self.k_norm(k.float()).to(v.dtype)
        if rotary is not None:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        return q, k, v

    def forward(self, x_NLD: Tensor, rotary: tuple[Tensor, Tensor] | None = None, past: Past | None = None) -> Tensor:
        """`past`: x goes on where that ended; only for causal attention, and `rotary` is then that of x alone."""
        q, k, v = self.project(x_NLD, rotary)
        if past is None:
            out_NHLK = attend(q, k, v, self.causal, self.kernel)
        else:
            assert self.causal
            k, v = past.join(k, v)
            seen = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril(k.shape[2] - q.shape[2])
            out_NHLK = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.proj(out_NHLK.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear layers with GELU (tanh form) between."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class SwiGLU(nn.Module):
    """Gated MLP with three matrices of `hidden` units."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.gate = nn.Linear(width, hidden)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """AdaLN: parameter-free LayerNorm, then scale and shift (Peebles & Xie, 2023)."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


def sincos_1d(width: int, positions_P: Tensor) -> Tensor:
    """Sine and cosine halves of `positions_P`, shape [P, width], made where the positions are: a GPU would wait for a copy."""
    omega = 10000.0 ** (-torch.arange(width // 2, device=positions_P.device).double() / (width // 2))
    angles = torch.outer(positions_P.double(), omega)
    return torch.cat((angles.sin(), angles.cos()), dim=-1).float()


def sincos_2d(width: int, rows: int, columns: int, extent: float | None = None, device: torch.device | None = None) -> Tensor:
    """Fixed 2-D position table [rows * columns, width]; the first half of the channels tells the column.

    Positions count from 0 by 1, or reach towards `extent` along both axes, however many rows and columns there are.
    """
    axes = [torch.arange(n, device=device) * (1.0 if extent is None else extent / n) for n in (rows, columns)]
    y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.cat((sincos_1d(width // 2, x.flatten()), sincos_1d(width // 2, y.flatten())), dim=-1)


def initialise_linear(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases, as in villa-x's LAM and OpenSora's STDiT3."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
        weight = module.weight
        nn.init.xavier_uniform_(weight.view(weight.shape[0], -1))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
