"""Metrics of public networks, by the rows of data/weights.yaml that a scale names. Each file is verified before use."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from cola_world.metrics.clip_similarity import clip_similarity
from cola_world.metrics.fvd import i3d
from cola_world.metrics.lpips import lpips
from cola_world.metrics.metric_types import ClipFeatures, FrameMetric
from cola_world.running.files import file_hash
from cola_world.weights.public import TORCH_SUFFIXES, PublicFile, obtain, read_tensors

VIDEO_NETWORKS = ("i3d", "lpips_alex", "lpips_vgg")  # whose metrics are of predicted video
NETWORKS = (*VIDEO_NETWORKS, "clip")


def open_metrics(
    rows: Mapping[str, PublicFile], folder: Path, device: torch.device | str = "cpu"
) -> list[FrameMetric | ClipFeatures]:
    """Open the metrics of those rows that are networks of a metric, and pass over the others. `folder`: see `obtain`.

    Raises WeightsError or ValueError in one line if a file cannot be had or is not what it should be.
    """
    return [open_metric(name, rows[name], folder, device) for name in NETWORKS if name in rows]


def open_metric(name: str, file: PublicFile, folder: Path, device: torch.device | str = "cpu") -> FrameMetric | ClipFeatures:
    path = obtain(name, file, folder)
    sha256 = file.sha256 or file_hash(path)
    if name == "i3d":
        return i3d(path, sha256, device)
    state = read_state(name, path)
    if name == "clip":
        return clip_similarity(state, sha256, device)
    return lpips("alex" if name == "lpips_alex" else "vgg", state, sha256, device)


def read_state(name: str, path: Path) -> dict[str, Tensor]:
    """Read tensors by name, and nothing but tensors."""
    return read_tensors(name, path) if path.suffix in TORCH_SUFFIXES else load_file(path)
