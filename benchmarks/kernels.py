"""Attention kernels at the shapes of a system: forward and backward of one layer, and which is the fastest.

Shape letters: N sequences, L tokens of each, H heads, K head size.
"""

import functools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from cola_world.data.batches import Shapes
from cola_world.models.layers import Kernel, attend
from cola_world.models.system import SystemConfig
from cola_world.training import devices

KERNELS: tuple[Kernel, ...] = get_args(Kernel)


class Shape(NamedTuple):
    """Of one layer's queries; `along` as the profile names it."""

    name: str
    along: str
    sequences: int
    heads: int
    length: int
    head_size: int


def shapes(system: SystemConfig, one: Shapes, clips: int) -> Iterator[Shape]:
    """World model first, whose layers take most of the time; `one` is the shape of a clip."""
    frames = one.video[0]
    patches = one.latents[-1] * one.latents[-2] // system.stdit3.patch_size**2
    for name, part, tokens in (
        ("world model", system.stdit3, patches), ("IDM", system.idm, (system.idm.image_size // system.idm.patch_size) ** 2)
    ):  # fmt: skip
        head_size = part.width // part.heads
        yield Shape(f"{name}, within frames", "space", clips * frames, part.heads, tokens, head_size)
        yield Shape(f"{name}, along time", "time", clips * tokens, part.heads, frames, head_size)


def layer(shape: Shape, kernel: Kernel, device: torch.device) -> Callable[[], object]:
    """Forward and backward; queries, keys and values lie as a layer's projection leaves them."""
    projected = torch.randn(shape.sequences, shape.length, 3, shape.heads, shape.head_size, device=device, dtype=torch.bfloat16)
    qkv = projected.requires_grad_().permute(2, 0, 3, 1, 4)
    weight = torch.randn(qkv.shape[1:], device=device, dtype=torch.bfloat16)
    function = functools.partial(attend, causal=shape.along == "time", kernel=kernel)
    if kernel in ("math", "plain"):  # what is no kernel of its own is fused by the compiler, as it is in a block
        function = torch.compile(function, backend=devices.BACKEND, dynamic=False)

    def work() -> Tensor:
        return torch.autograd.grad(function(*qkv.unbind(0)), projected, weight)[0]

    return work


def milliseconds(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Median of rounds, each long enough to measure; within about `seconds`."""

    def rounds(count: int) -> float:
        wait(device)
        start = time.perf_counter()
        for _ in range(count):
            work()
        wait(device)
        return (time.perf_counter() - start) / count

    for _ in range(2):
        once = rounds(1)
    count = max(1, int(seconds / 5 / once))
    return 1e3 * statistics.median(rounds(count) for _ in range(5))


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def measure(shape: Shape, device: torch.device, seconds: float) -> dict[Kernel, float]:
    """Milliseconds by kernel; those that do not take this shape, device or memory are missing."""
    times = {}
    for kernel in KERNELS:
        torch._dynamo.reset()
        try:
            times[kernel] = milliseconds(layer(shape, kernel, device), device, seconds)
        except RuntimeError as error:  # "no available kernel", or out of memory
            print(f"{shape.name}: {kernel}: {str(error).splitlines()[0]}", flush=True)
    return times


def row(shape: Shape, times: dict[Kernel, float]) -> str:
    cells = " | ".join(f"{times[kernel]:.3f}" if kernel in times else "–" for kernel in KERNELS)
    size = f"{shape.sequences} x {shape.heads} x {shape.length} x {shape.head_size}"
    return f"| {shape.name} | {size} | {cells} | {min(times, key=times.get)} |"
