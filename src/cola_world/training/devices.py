"""Devices and ranks, through accelerate: share out a step and put its results together.

One process on one device is the case of one share; there is no other code path.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cola_world.models.action_adaln import ActionBlock
from cola_world.models.config import Config
from cola_world.models.fdm import SpatialBlock
from cola_world.models.idm import STBlock
from cola_world.models.layers import Attention, Kernel
from cola_world.models.stdit3 import STDiT3Block, beyond_depth
from cola_world.models.system import System

Call = Callable[..., Any]
# These are compiled, recomputed and sharded one by one: equal blocks share one compiled graph, and FSDP gathers a
# shard when its block needs it.
BLOCKS = (STBlock, SpatialBlock, STDiT3Block, ActionBlock)
BACKEND = "inductor"  # backend of torch.compile


class AttentionConfig(Config):
    """Attention kernels within a frame and along time; benchmarks/gpu.md finds the fastest. null leaves the choice to
    torch.
    """

    space: Kernel | None = None
    time: Kernel | None = None


class DeviceConfig(Config):
    """How the work lies on devices. It changes results by rounding only, and `precision` the most."""

    precision: Literal["fp32", "bf16"] = Field("fp32", description="of the forward; weights, moments and quantiser stay fp32")
    parallel: Literal["ddp", "fsdp2"] = Field("ddp", description="whole copies, or shards, of the weights on each device")
    clips_at_a_time: int | None = Field(None, ge=1, description="on one device; a larger share of the batch is accumulated")
    compile: bool = False
    recompute: bool = Field(False, description="block activations in the backward, in place of keeping them")
    attention: AttentionConfig = AttentionConfig()

    @model_validator(mode="after")
    def kernels_fit(self) -> DeviceConfig:
        for along, kernel in self.attention:
            if kernel in ("flash", "cudnn") and self.precision == "fp32":
                raise ValueError(f"attention.{along}: {kernel!r} has no fp32 on a GPU; right would be 'efficient', or precision: bf16")
            if kernel == "plain" and not self.compile:
                raise ValueError(f"attention.{along}: {kernel!r} is only of use where it is compiled; add compile: true")
        return self


class Wrapped(nn.Module):
    """A module whose forward calls any function of the system. Sharding, synchronisation and autocast hook into
    forward.
    """

    def __init__(self, system: nn.Module):
        super().__init__()
        self.system = system

    def forward(self, function: Callable, *arguments: Any) -> Any:
        return function(self.system, *arguments)


class Devices:
    """The place of this process among all. Make one per process."""

    def __init__(self, config: DeviceConfig | None = None):
        # Imported here, and DTensor below, because they take seconds and most readers of a config train nothing.
        from accelerate import Accelerator, DistributedDataParallelKwargs

        config = config or DeviceConfig()
        self.config = config
        precision = "no" if config.precision == "fp32" else config.precision
        self.accelerator = Accelerator(
            mixed_precision=precision,
            fsdp_plugin=sharding() if config.parallel == "fsdp2" else None,
            kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
        )
        self.device = self.accelerator.device
        self.ranks, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        self.writes = self.accelerator.is_main_process
        self.wait = self.accelerator.wait_for_everyone

    def prepare(self, system: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Call, torch.optim.Optimizer]:
        """Lay the system on the devices -> a function that runs functions of it there, and the optimiser of its
        parameters.
        """
        for module in system.modules():
            if isinstance(module, Attention):
                module.kernel = getattr(self.config.attention, module.along)
            if isinstance(module, BLOCKS) and self.config.recompute:
                module.forward = recomputed(module.forward)
            if isinstance(module, BLOCKS) and self.config.compile:
                compile_block(module)
        call, wrapped = self.accelerator.prepare(Wrapped(system), optimizer)
        return call, wrapped.optimizer

    @property
    def prefetches(self) -> bool:
        """Whether batches are read ahead. A GPU computes while the CPU reads; a CPU gains nothing."""
        return self.device.type == "cuda"

    def take(self, values: Tensor) -> Tensor:
        """Move values to this device, without waiting if they are pinned."""
        return values.to(self.device, non_blocking=True)

    def shares(self, clips: int) -> list[slice]:
        """Slice this rank's clips of a batch into parts that go through the model at once."""
        if clips % self.ranks:
            fitting = [clips - clips % self.ranks or self.ranks, clips + self.ranks - clips % self.ranks]
            right = " or ".join(map(str, sorted(set(fitting))))
            raise ValueError(f"training.batch_size: {clips} clips do not divide among {self.ranks} devices; right would be {right}")
        own = clips // self.ranks
        begin, at_a_time = self.rank * own, self.config.clips_at_a_time or own
        return [slice(at, min(at + at_a_time, begin + own)) for at in range(begin, begin + own, at_a_time)]

    def gathering(self, call: Call, last: bool) -> AbstractContextManager:
        """Exchange gradients once a step, in the backward pass of its last part."""
        return nullcontext() if last else self.accelerator.no_sync(call)

    def backward(self, loss: Tensor) -> None:
        """Run the backward pass of a share of the batch's mean. Ranks average gradients, and this makes them add up."""
        self.accelerator.backward(loss * self.ranks if self.ranks > 1 else loss)

    def summed(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Sum values over ranks."""
        return self.accelerator.reduce(values, "sum") if self.ranks > 1 else values

    def own(self, values: Tensor) -> Tensor:
        """Return this rank's rows. Ranks differ by one row at most."""
        return values.tensor_split(self.ranks)[self.rank]

    def gathered(self, values: Tensor) -> Tensor:
        """Return the rows of all ranks in order, on every rank."""
        if self.ranks == 1:
            return values
        parts = [None] * self.ranks
        torch.distributed.all_gather_object(parts, values.cpu())
        return torch.cat(parts).to(values.device)

    def agreed(self, value: bool) -> bool:
        """Return the first rank's value on every rank. All ranks must call it."""
        if self.ranks == 1:
            return value
        said = [value]
        torch.distributed.broadcast_object_list(said)
        return said[0]


def sharding() -> Any:
    """Return accelerate's plugin for FSDP2, which shards each block by itself."""
    from accelerate import FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import MixedPrecisionPolicy

    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=[block.__name__ for block in BLOCKS],
        # Autocast alone decides what is bf16, as under DDP. Otherwise codebook and rotary frequencies would be bf16
        # too.
        mixed_precision_policy=MixedPrecisionPolicy(),
    )


def recomputed(forward: Call) -> Call:
    """Wrap a forward so that the backward pass recomputes it. torch.compile does not look into a `functools.partial`."""

    @functools.wraps(forward)
    def again(*values: Any) -> Any:
        return checkpoint(forward, *values, use_reentrant=False)

    return again


def compile_block(block: nn.Module) -> None:
    """Compile a block into a graph that all blocks like it share. Raises an error if it cannot be one graph."""
    # DDP's own optimiser would cut the graph of each block by its buckets, and it refuses recomputed blocks.
    torch._dynamo.config.optimize_ddp = False
    # Training and evaluation differ in batch size. By default the second size that is seen is compiled for any size.
    torch._dynamo.config.recompile_limit = 64
    block.compile(backend=BACKEND, fullgraph=True, dynamic=False)


def sharded(value: Tensor) -> bool:
    """Tell whether a value is a DTensor, without importing the module of DTensors if nobody has."""
    distributed = sys.modules.get("torch.distributed.tensor")
    return distributed is not None and isinstance(value, distributed.DTensor)


def whole(value: Tensor) -> Tensor:
    """Return a tensor that may be a shard as one tensor. All ranks must call it."""
    value = value.detach()
    return value.full_tensor() if sharded(value) else value


def laid_as(value: Tensor, like: Tensor) -> Tensor:
    """Lay `value` out as `like` is: on its device, and as its shard."""
    value = value.to(like.device)
    if not sharded(like):
        return value
    return sys.modules["torch.distributed.tensor"].distribute_tensor(value, like.device_mesh, like.placements)


@torch.no_grad()
def load_parts(system: System, tensors: dict[str, Tensor]) -> None:
    """Copy `part.name` tensors into the system.

    Blocks beyond its depth are left out. Raises ValueError for any other name or shape that it does not have.
    """
    targets = {f"{part}.{name}": p for part, module in system.parts().items() for name, p in module.named_parameters()}
    for name, tensor in tensors.items():
        if name.startswith(("optimizer/", "ema/")) or beyond_depth(name, system.config.stdit3.depth):
            continue
        if name not in targets or targets[name].shape != tensor.shape:
            raise ValueError(f"checkpoint: {name} {tuple(tensor.shape)} does not fit this system; was it made at another scale?")
        targets[name].copy_(laid_as(tensor, targets[name]))
