"""OpenSora's public STDiT3 as this workspace's, without its text path."""

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from cola_world.models.stdit3 import STDiT3, STDiT3Config
from cola_world.weights import WeightsError

# OpenSora's text path, which the paper removes (B.2).
TEXT = ("y_embedder.", ".cross_attn.")


def stdit3_tensors(path: Path, config: STDiT3Config) -> dict[str, Tensor]:
    """Parameters of `STDiT3(config)` in fp32 from a public state dict; WeightsError at the first that does not fit."""
    with torch.device("meta"):
        wanted = {name: parameter.shape for name, parameter in STDiT3(config).named_parameters()}
    with safe_open(path, framework="pt") as file:
        names = {name for name in file.keys() if not any(part in name for part in TEXT)}
        shapes = {name: torch.Size(file.get_slice(name).get_shape()) for name in names}
        for name in sorted(wanted.keys() | names):
            if wanted.get(name) != shapes.get(name):
                expected, found = (tuple(s[name]) if name in s else "none" for s in (wanted, shapes))
                raise WeightsError(f"{path}: {name}: expected {expected}, found {found}; the profile's system.stdit3 must be the file's")
        return {name: file.get_tensor(name).float() for name in sorted(wanted)}
