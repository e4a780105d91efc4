"""Checkpoints: safetensors, written under a temporary name and renamed, equal bytes for equal content."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cola_world.models.stdit3 import beyond_depth
from cola_world.models.system import System
from cola_world.training.devices import laid_as


def save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, Any] | None = None) -> None:
    """Write `tensors` and JSON-able `metadata` as one file; a reader sees the old file or the whole new one.

    ValueError in one line when it cannot be written; what was there before is then untouched.
    """
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
    # In one entry, for safetensors writes several in any order, and equal content is to be equal bytes.
    about = {"metadata": json.dumps((metadata or {}) | {"sha256": digest(content)}, sort_keys=True)}
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(content, partial, about)
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise ValueError(f"{path}: cannot be written ({error}); make room and run again, it goes on from what was saved before") from None


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a checkpoint; ValueError in one line where it is missing or damaged."""
    if not path.is_file():
        raise ValueError(f"checkpoint: {path} does not exist; run the stage that writes it first")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            metadata = json.loads((file.metadata() or {}).get("metadata", "{}"))
    except SafetensorError as error:
        raise ValueError(f"checkpoint: {path} is damaged ({error}); remove it and run again") from None
    expected = metadata.pop("sha256", None)
    if expected is not None and expected != digest(tensors):
        raise ValueError(f"checkpoint: {path} is damaged (its sha256 is not that of its tensors); remove it and run again")
    return tensors, metadata


def digest(tensors: dict[str, Tensor]) -> str:
    """sha256 over names, types, shapes and bytes, in the order of the names."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()


@torch.no_grad()
def load_parts(system: System, tensors: dict[str, Tensor]) -> None:
    """Copy `part.name` tensors into the system; names that it does not have are an error, but for blocks beyond its depth."""
    targets = {f"{part}.{name}": p for part, module in system.parts().items() for name, p in module.named_parameters()}
    for name, tensor in tensors.items():
        if name.startswith(("optimizer/", "ema/")) or beyond_depth(name, system.config.stdit3.depth):
            continue
        if name not in targets or targets[name].shape != tensor.shape:
            raise ValueError(f"checkpoint: {name} {tuple(tensor.shape)} does not fit this system; was it made at another scale?")
        targets[name].copy_(laid_as(tensor, targets[name]))
