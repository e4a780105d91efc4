"""The metrics of public networks, by the rows of data/weights.yaml that a scale names; each file is verified before its use."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from cola_world.evaluation.clip_similarity import clip_similarity
from cola_world.evaluation.fvd import i3d
from cola_world.evaluation.metrics import ClipFeatures, FrameMetric
from cola_world.evaluation.perceptual import lpips
from cola_world.weights import TORCH_SUFFIXES, PublicFile, obtain, read_tensors, sha256_of

NETWORKS = ("i3d", "lpips_alex", "lpips_vgg", "clip")


def open_metrics(
    rows: Mapping[str, Mapping[str, Any]], folder: Path, device: torch.device | str = "cpu"
) -> list[FrameMetric | ClipFeatures]:
    """The metrics of those rows that are of a metric's network, the others are passed over; `folder` as that of `obtain`.

    WeightsError or ValueError in one line where a file cannot be had or is not what it should be.
    """
    return [open_metric(name, PublicFile.model_validate(rows[name]), folder, device) for name in NETWORKS if name in rows]


def open_metric(name: str, file: PublicFile, folder: Path, device: torch.device | str = "cpu") -> FrameMetric | ClipFeatures:
    path = obtain(name, file, folder)
    sha256 = file.sha256 or sha256_of(path)
    if name == "i3d":
        return i3d(path, sha256, device)
    state = read_state(name, path)
    if name == "clip":
        return clip_similarity(state, sha256, device)
    return lpips("alex" if name == "lpips_alex" else "vgg", state, sha256, device)


def read_state(name: str, path: Path) -> dict[str, Tensor]:
    """Tensors by name, and nothing but tensors."""
    return read_tensors(name, path) if path.suffix in TORCH_SUFFIXES else load_file(path)
