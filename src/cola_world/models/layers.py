"""Layers that several boxes of the architecture share.

Shape letters: N any batch, L sequence, D width, H heads, K head size, P grid points.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
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
    """Switch autocast off on every device, for what rounding must not decide. The function casts its inputs itself."""
    return torch.autocast("cuda", enabled=False)(torch.autocast("cpu", enabled=False)(function))


class RotaryEmbedding(nn.Module):
    """Rotary position embedding over interleaved pairs; `freqs` is `rope.freqs` in the public state dict."""

    def __init__(self, head_size: int, theta: float = 10000.0):
        super().__init__()
        exponents = torch.arange(0, head_size, 2).float() / head_size
        self.freqs = nn.Parameter(theta**-exponents, requires_grad=False)

    def forward(self, length: int, start: int = 0) -> tuple[Tensor, Tensor]:
        """Return cos and sin of the positions start, start + 1, …: [length, head_size], each frequency twice in a
        row.
        """
        angles_LK = torch.outer(torch.arange(start, start + length, device=self.freqs.device).float(), self.freqs)
        angles_LK = angles_LK.repeat_interleave(2, dim=-1)
        return angles_LK.cos(), angles_LK.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate each pair (x0, x1) of the last axis by its angle."""
    turned = torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)
    return (x.float() * cos + turned.float() * sin).to(x.dtype)


class KVCache:
    """Keys and values of the first frames, so that they need not be computed again with every later call."""

    def __init__(self):
        self.key: Tensor | None = None
        self.value: Tensor | None = None

    def append(self, k_NHLK: Tensor, v_NHLK: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cached keys and values followed by these. The first call fills the cache; later calls leave it
        as it is.
        """
        if self.key is None:
            self.key, self.value = k_NHLK, v_NHLK
            return k_NHLK, v_NHLK
        return torch.cat((self.key, k_NHLK), 2), torch.cat((self.value, v_NHLK), 2)


def attend(q_NHLK: Tensor, k_NHLK: Tensor, v_NHLK: Tensor, causal: bool, kernel: Kernel | None) -> Tensor:
    """Run softmax attention with the named kernel; None leaves the choice to torch."""
    if kernel == "plain":
        return attend_unfused(q_NHLK, k_NHLK, v_NHLK, causal)
    with sdpa_kernel(FUSED[kernel]) if kernel else nullcontext():
        return F.scaled_dot_product_attention(q_NHLK, k_NHLK, v_NHLK, is_causal=causal)


def attend_unfused(q_NHLK: Tensor, k_NHLK: Tensor, v_NHLK: Tensor, causal: bool) -> Tensor:
    """Run attention as products and sums, for clips of few frames, where a fused kernel fills a tile of 64 with 8
    rows.

    Only a compiler makes it cheap: it keeps the products [N, H, L, L, K] in registers, where eager torch keeps them
    in memory.
    """
    q, k, v = q_NHLK.float(), k_NHLK.float(), v_NHLK.float()
    scores_NHLL = (q[..., :, None, :] * k[..., None, :, :]).sum(-1) * q.shape[-1] ** -0.5
    if causal:
        later_LL = torch.ones(scores_NHLL.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores_NHLL = scores_NHLL.masked_fill(later_LL, float("-inf"))
    return (scores_NHLL.softmax(-1)[..., None] * v[..., None, :, :]).sum(-2).to(v_NHLK.dtype)


class Attention(nn.Module):
    """Multi-head self-attention that normalises queries and keys in fp32 before the rotation.

    `norm` is `nn.RMSNorm` in STDiT3 and `nn.LayerNorm` in the LAM. A layer built causal runs along time, even if its
    mask is switched off later. `kernel` may be set to the fastest one on a device.
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
        """Return queries, keys and values [N, H, L, K]."""
        q, k, v = self.qkv(x_NLD).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q.float()).to(v.dtype), self.k_norm(k.float()).to(v.dtype)
        if rotary is not None:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        return q, k, v

    def forward(self, x_NLD: Tensor, rotary: tuple[Tensor, Tensor] | None = None, past: KVCache | None = None) -> Tensor:
        """With `past`, x continues the cached sequence: attention must be causal, and `rotary` is that of x alone."""
        q, k, v = self.project(x_NLD, rotary)
        if past is None:
            out_NHLK = attend(q, k, v, self.causal, self.kernel)
        else:
            assert self.causal
            k, v = past.append(k, v)
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
    """Return sines, then cosines of the positions [P, width], made on their device because a GPU would wait for a
    copy.
    """
    omega = 10000.0 ** (-torch.arange(width // 2, device=positions_P.device).double() / (width // 2))
    angles = torch.outer(positions_P.double(), omega)
    return torch.cat((angles.sin(), angles.cos()), dim=-1).float()


def sincos_2d(width: int, rows: int, columns: int, extent: float | None = None, device: torch.device | None = None) -> Tensor:
    """Return a fixed 2-D position table [rows * columns, width]; the first half of the channels encodes the column.

    Positions count 0, 1, 2, …, or are spaced to span `extent` along both axes, however many rows and columns there
    are.
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


@contextmanager
def seeded(seed: int, name: str) -> Iterator[None]:
    """Initialise a module from (seed, its name) alone, so that two arms with one seed start with equal modules."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(digest[:7], "big"))
        yield


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return the random numbers of one optimiser step, a function of (seed, step) alone."""
    digest = hashlib.sha256(f"{seed}/{step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def count(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())
