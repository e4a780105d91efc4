"""Checkpoints: safetensors files that are written whole or not at all. Equal content gives equal bytes."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cola_world.running.files import renamed


def save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, Any] | None = None) -> None:
    """Write `tensors` and JSON-able `metadata` as one file. A reader sees the old file or the whole new one.

    Raises ValueError in one line if the file cannot be written; the old file is then untouched.
    """
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
    # All metadata goes into one entry: safetensors writes several in any order, and equal content must give equal
    # bytes.
    about = {"metadata": json.dumps((metadata or {}) | {"sha256": digest(content)}, sort_keys=True)}
    try:
        with renamed(path) as partial:
            save_file(content, partial, about)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: cannot be written ({error}); make room and run again, it goes on from what was saved before") from None


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and metadata. Raises ValueError in one line if the checkpoint is missing or damaged."""
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


def parts(path: Path) -> set[str]:
    """Return the names of the parts that the checkpoint holds weights of. Its tensors are not read."""
    with safe_open(path, framework="pt") as file:
        return {name.partition(".")[0] for name in file.keys() if "/" not in name}


def digest(tensors: dict[str, Tensor]) -> str:
    """Return the sha256 of names, types, shapes and bytes, in the order of the names."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()
