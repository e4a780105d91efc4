"""Checkpoints: safetensors, written under a temporary name and renamed, equal bytes for equal content."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from cola_world.models.system import System


def save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, Any] | None = None) -> None:
    """Write `tensors` and JSON-able `metadata` as one file; a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
    save_file(content, partial, {"metadata": json.dumps(metadata or {}, sort_keys=True)})
    os.replace(partial, path)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a checkpoint."""
    if not path.is_file():
        raise ValueError(f"checkpoint: {path} does not exist; run the stage that writes it first")
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        return tensors, json.loads((file.metadata() or {}).get("metadata", "{}"))


@torch.no_grad()
def load_parts(system: System, tensors: dict[str, Tensor]) -> None:
    """Copy `part.name` tensors into the system; names that it does not have are an error."""
    targets = {f"{part}.{name}": p for part, module in system.parts().items() for name, p in module.named_parameters()}
    for name, tensor in tensors.items():
        if name.startswith("optimizer/"):
            continue
        if name not in targets or targets[name].shape != tensor.shape:
            raise ValueError(f"checkpoint: {name} {tuple(tensor.shape)} does not fit this system; was it made at another scale?")
        targets[name].copy_(tensor)


def file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
