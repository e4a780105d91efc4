"""OpenSora's public STDiT3 in the form of this workspace, without its text path."""

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from cola_world.models.stdit3 import STDiT3, STDiT3Config
from cola_world.weights.public import WeightsError, shards_of

# OpenSora's text path, which the paper removes (B.2).
TEXT = ("y_embedder.", ".cross_attn.")


class PublicSTDiT3(NamedTuple):
    """The tensors of a public state dict in fp32, and the names and sizes of what is left out."""

    tensors: dict[str, Tensor]
    dropped: dict[str, int]

    def __str__(self) -> str:
        parts = {part.strip("."): [size for name, size in self.dropped.items() if part in name] for part in TEXT}
        dropped = ", ".join(f"{part} {sum(sizes):,} in {len(sizes)} tensors" for part, sizes in parts.items())
        return f"taken {sum(t.numel() for t in self.tensors.values()):,} in {len(self.tensors)} tensors; dropped {dropped}"


def public_stdit3(path: Path, config: STDiT3Config) -> PublicSTDiT3:
    """Read the parameters of `STDiT3(config)` from safetensors or the index of shards. Raises WeightsError at a
    misfit.
    """
    with torch.device("meta"):
        wanted = {name: parameter.shape for name, parameter in STDiT3(config).named_parameters()}
    tensors, dropped = {}, {}
    for shard in shards_of("stdit3", path):
        with safe_open(shard, framework="pt") as file:
            for name in sorted(file.keys()):
                shape = torch.Size(file.get_slice(name).get_shape())
                if name in tensors or name in dropped:
                    raise WeightsError(f"{shard}: {name}: expected once, found in another shard as well; bring the shards of one model")
                if any(part in name for part in TEXT):
                    dropped[name] = shape.numel()
                    continue
                check_shape(shard, name, wanted.get(name), shape)
                tensors[name] = file.get_tensor(name).float()
    for name in sorted(wanted.keys() - tensors.keys()):
        check_shape(path, name, wanted[name], None)
    return PublicSTDiT3(tensors, dropped)


def check_shape(path: Path, name: str, expected: torch.Size | None, found: torch.Size | None) -> None:
    if expected != found:
        said = [tuple(shape) if shape is not None else "none" for shape in (expected, found)]
        raise WeightsError(f"{path}: {name}: expected {said[0]}, found {said[1]}; the profile's system.stdit3 must be the file's")
