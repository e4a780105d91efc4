"""The stand-in for public networks: a small video encoder trained on the clips at hand.

Its metrics are called FVD-sim and LPIPS-sim, and compare only with numbers of the same encoder.
Shape letters: B clips, N frames, T frames of a clip, K channels, Y X pixels, y x pixels of a layer, D features.
"""

import hashlib
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from cola_world.metrics.metric_types import ClipFeatures, FrameMetric
from cola_world.metrics.protocol import Network
from cola_world.models.config import Config
from cola_world.running.files import renamed

NAME = "encoder-sim"


class EncoderConfig(Config):
    """Channels of the layers, each of which halves the size, and the number of features of a clip."""

    # not in paper: because the public networks need larger or longer clips than a small scale has, a small encoder
    # that takes any clip of two frames or more stands in for them, under names of its own.
    channels: tuple[int, ...] = Field((16, 32, 64), min_length=1)
    features: int = Field(64, ge=2)


class Layer(nn.Module):
    """A convolution of stride 2 within frames, then one over neighbouring frames (Tran et al., 2018)."""

    def __init__(self, before: int, channels: int):
        super().__init__()
        self.space = nn.Conv2d(before, channels, 3, stride=2, padding=1)
        self.time = nn.Conv2d(3 * channels, channels, 1)

    def forward(self, x_BTKYX: Tensor) -> Tensor:
        clips = x_BTKYX.shape[:2]
        x = F.relu(self.space(x_BTKYX.flatten(0, 1))).unflatten(0, clips)
        # Repeating the ends makes a single frame look like a clip in which nothing moves.
        before, after = torch.cat((x[:, :1], x[:, :-1]), 1), torch.cat((x[:, 1:], x[:, -1:]), 1)
        return F.relu(self.time(torch.cat((before, x, after), 2).flatten(0, 1))).unflatten(0, clips)


class VideoEncoder(nn.Module):
    """RGB in [0, 1] [B, T, 3, Y, X] -> features [B, D]."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        sizes = (3, *config.channels)
        self.blocks = nn.ModuleList(Layer(before, channels) for before, channels in zip(sizes, sizes[1:], strict=False))
        self.project = nn.Linear(config.channels[-1], config.features)

    def layers(self, video_BTCYX: Tensor) -> list[Tensor]:
        """Return the output of each layer, [B, T, K, y, x]."""
        x, outputs = 2 * video_BTCYX - 1, []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return outputs

    def forward(self, video_BTCYX: Tensor) -> Tensor:
        return self.project(self.layers(video_BTCYX)[-1].mean((1, 3, 4)))

    def distance(self, generated_NCYX: Tensor, real_NCYX: Tensor) -> Tensor:
        """LPIPS of Zhang et al. (2018) without learnt weights: squared difference of unit features, averaged over
        layers.
        """
        layers = self.layers(torch.cat((generated_NCYX, real_NCYX))[:, None])
        parts = [F.normalize(layer[:, 0], dim=1).chunk(2) for layer in layers]
        return torch.stack([(a - b).square().sum(1).mean((1, 2)) for a, b in parts]).mean(0)


def to_bytes(encoder: VideoEncoder) -> bytes:
    """Serialise the encoder as safetensors. Equal encoders give equal bytes."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in sorted(encoder.state_dict().items())}
    return save(tensors, {"config": encoder.config.model_dump_json()})


def save_encoder(encoder: VideoEncoder, path: Path) -> None:
    with renamed(path) as partial:
        partial.write_bytes(to_bytes(encoder))


class SimEncoder:
    """A trained encoder and its metrics, under names that no other network has."""

    def __init__(self, encoder: VideoEncoder, sha256: str, device: torch.device | str = "cpu"):
        self.encoder = encoder.eval().requires_grad_(False).to(device)
        self.network = Network(name=NAME, sha256=sha256)

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> Self:
        """Load what `save_encoder` wrote. Raises ValueError in one line for anything else."""
        if not path.is_file():
            raise ValueError(f"{path}: no such file; train the encoder first")
        content = path.read_bytes()
        try:
            with safe_open(path, framework="pt") as file:
                config = EncoderConfig.model_validate_json((file.metadata() or {})["config"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}
            encoder = VideoEncoder(config)
            encoder.load_state_dict(tensors)
        except (SafetensorError, KeyError, ValidationError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(f"{path}: expected an encoder of this workspace, found something else ({reason}); train it again") from None
        return cls(encoder, hashlib.sha256(content).hexdigest(), device)

    def fvd(self) -> ClipFeatures:
        return ClipFeatures("video/fvd_sim", "FVD-sim", self.encoder, self.network, fewest=2)

    def lpips(self) -> FrameMetric:
        return FrameMetric("video/lpips_sim", "LPIPS-sim", self.encoder.distance, "mean of all layers", self.network)
