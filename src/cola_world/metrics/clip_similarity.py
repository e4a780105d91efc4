"""CLIP similarity of frames that should show the same things without being equal (action transfer)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cola_world.metrics.metric_types import FrameMetric
from cola_world.metrics.protocol import Network
from cola_world.models.torchvision_import import import_with_torchvision

MODEL = "ViT-B-32"


def clip_similarity(state: dict[str, Tensor], sha256: str, device: torch.device | str = "cpu", model: str = MODEL) -> FrameMetric:
    """Cosine of open_clip's image embeddings. `state` is that of the architecture `model`; `sha256` is of its file.

    Raises ValueError in one line if open_clip is not installed or the tensors are another model's.
    """
    # not in paper: because transferred actions have no true video to compare with, frames are compared by their content.
    with torch.random.fork_rng(devices=[]):
        network = import_with_torchvision("open_clip").create_model(model, pretrained=None).eval().requires_grad_(False)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split()[:16])
        raise ValueError(f"CLIP similarity: the weights are not those of open_clip's {model} ({reason} ...)") from None
    visual = network.to(device).visual
    height, width = visual.image_size if isinstance(visual.image_size, tuple) else (visual.image_size,) * 2
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (visual.image_mean, visual.image_std))

    def embed(frames_NCYX: Tensor) -> Tensor:
        scaled = F.interpolate(frames_NCYX, (height, width), mode="bicubic", antialias=True).clamp(0, 1)
        return network.encode_image((scaled - mean) / std, normalize=True)

    def compare(generated_NCYX: Tensor, real_NCYX: Tensor) -> Tensor:
        return (embed(generated_NCYX) * embed(real_NCYX)).sum(1)

    identity = Network(name=f"open_clip {model}", sha256=sha256)
    return FrameMetric("video/clip_similarity", "CLIP similarity", compare, "cosine of image embeddings", identity, side=max(height, width))
