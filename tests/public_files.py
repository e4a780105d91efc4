"""Files like the public ones, small, and rows that name them."""

import hashlib
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny import CONFIG

from cola_world.models.stdit3 import STDiT3
from cola_world.weights.public import PublicFile

ROW = {
    "repository": "someone/model", "file": "model.safetensors", "revision": "0" * 40, "size": None, "sha256": None,
    "licence": None, "format": "safetensors", "replaces": "pretrain", "purpose": "a test",
}  # fmt: skip


def row(**changes) -> PublicFile:
    return PublicFile.model_validate(ROW | changes)


def write_public(path: Path, **extra: torch.Tensor) -> dict[str, torch.Tensor]:
    """A file with the names of OpenSora's, its text path included, at the size of the test system."""
    torch.manual_seed(0)
    tensors = {name: torch.randn_like(parameter) for name, parameter in STDiT3(CONFIG.stdit3).named_parameters()}
    text = {"y_embedder.y_embedding": torch.zeros(3, 4), "spatial_blocks.0.cross_attn.proj.weight": torch.zeros(2, 2)}
    save_file(tensors | text | extra, path)
    return tensors


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
