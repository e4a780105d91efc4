"""Devices and ranks, through accelerate: how a step is shared out, and what is put together again.

One process on one device is the case of one share; there is no other code path.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cola_world.models.action_adaln import ActionBlock
from cola_world.models.fdm import SpatialBlock
from cola_world.models.idm import STBlock
from cola_world.models.layers import Attention, Kernel
from cola_world.models.stdit3 import STDiT3Block

Call = Callable[..., Any]
# Compiled, recomputed and sharded one by one: equal blocks share one compiled graph, and a shard is gathered when it is needed.
BLOCKS = (STBlock, SpatialBlock, STDiT3Block, ActionBlock)
BACKEND = "inductor"  # of torch.compile


class AttentionConfig(BaseModel):
    """Kernels of attention within a frame and along time, as benchmarks/gpu.md finds them the fastest; null lets torch choose."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    space: Kernel | None = None
    time: Kernel | None = None


class DeviceConfig(BaseModel):
    """How the work lies on devices. None of it changes what is computed but for rounding, and `precision` the most."""

    model_config = ConfigDict(extra="forbid", frozen=True)
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
    """A system whose forward is any function of it, for it is a module's forward that is sharded, synchronised and autocast."""

    def __init__(self, system: nn.Module):
        super().__init__()
        self.system = system

    def forward(self, function: Callable, *arguments: Any) -> Any:
        return function(self.system, *arguments)


class Devices:
    """This process's place among all; made once a process."""

    def __init__(self, config: DeviceConfig | None = None):
        # Only here, and DTensor below: they take seconds to import, and most who read a configuration train nothing.
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
        """The system as it lies on the devices, to be called with a function of it; and the optimiser of its parameters there."""
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
        """A GPU computes while the CPU reads; where the CPU computes, reading ahead gains nothing."""
        return self.device.type == "cuda"

    def take(self, values: Tensor) -> Tensor:
        """To this device, without waiting where the values are pinned."""
        return values.to(self.device, non_blocking=True)

    def shares(self, clips: int) -> list[slice]:
        """This rank's clips of a batch, as many at a time as are to go through the model at once."""
        if clips % self.ranks:
            fitting = [clips - clips % self.ranks or self.ranks, clips + self.ranks - clips % self.ranks]
            right = " or ".join(map(str, sorted(set(fitting))))
            raise ValueError(f"training.batch_size: {clips} clips do not divide among {self.ranks} devices; right would be {right}")
        own = clips // self.ranks
        begin, at_a_time = self.rank * own, self.config.clips_at_a_time or own
        return [slice(at, min(at + at_a_time, begin + own)) for at in range(begin, begin + own, at_a_time)]

    def gathering(self, call: Call, last: bool) -> AbstractContextManager:
        """Gradients are exchanged once a step: in the backward of the last of its parts."""
        return nullcontext() if last else self.accelerator.no_sync(call)

    def backward(self, loss: Tensor) -> None:
        """`loss` is a share of the batch's mean; ranks' gradients are averaged, and so this is their sum."""
        self.accelerator.backward(loss * self.ranks if self.ranks > 1 else loss)

    def summed(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Over ranks."""
        return self.accelerator.reduce(values, "sum") if self.ranks > 1 else values

    def own(self, values: Tensor) -> Tensor:
        """This rank's rows; ranks differ by one row at the most."""
        return values.tensor_split(self.ranks)[self.rank]

    def gathered(self, values: Tensor) -> Tensor:
        """All ranks' rows in their order, on every rank."""
        if self.ranks == 1:
            return values
        parts = [None] * self.ranks
        torch.distributed.all_gather_object(parts, values.cpu())
        return torch.cat(parts).to(values.device)

    def agreed(self, value: bool) -> bool:
        """What the first rank says, on every rank; ranks meet here."""
        if self.ranks == 1:
            return value
        said = [value]
        torch.distributed.broadcast_object_list(said)
        return said[0]


def sharding() -> Any:
    """Accelerate's plugin for FSDP2: each block by itself."""
    from accelerate import FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import MixedPrecisionPolicy

    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=[block.__name__ for block in BLOCKS],
        # Autocast alone says what is bf16, as it does under DDP: else codebook and rotary frequencies would be, too.
        mixed_precision_policy=MixedPrecisionPolicy(),
    )


def recomputed(forward: Call) -> Call:
    """A function and no `functools.partial`, which torch.compile does not look into."""

    @functools.wraps(forward)
    def again(*values: Any) -> Any:
        return checkpoint(forward, *values, use_reentrant=False)

    return again


def compile_block(block: nn.Module) -> None:
    """Its graph is that of all blocks like it; an error, where it cannot be one graph."""
    # Of its own DDP's optimiser would cut each block's graph by its buckets, and it refuses recomputed blocks.
    torch._dynamo.config.optimize_ddp = False
    # Training and evaluation have each their batch; as the second one that it sees, training's would be compiled for any size.
    torch._dynamo.config.recompile_limit = 64
    block.compile(backend=BACKEND, fullgraph=True, dynamic=False)


def own_device() -> torch.device:
    """Of work that one process does alone."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def sharded(value: Tensor) -> bool:
    """Whether it is a DTensor; where nobody has made one, the module that has them is not loaded for asking."""
    distributed = sys.modules.get("torch.distributed.tensor")
    return distributed is not None and isinstance(value, distributed.DTensor)


def whole(value: Tensor) -> Tensor:
    """A tensor that may be a shard, as one; every rank must ask."""
    value = value.detach()
    return value.full_tensor() if sharded(value) else value


def laid_as(value: Tensor, like: Tensor) -> Tensor:
    """`value` where `like` is: on its device, and as its shard where that is one."""
    value = value.to(like.device)
    if not sharded(like):
        return value
    return sys.modules["torch.distributed.tensor"].distribute_tensor(value, like.device_mesh, like.placements)
