"""Trained models as folders that load in one line, from disk or from the hub: config.json, model.safetensors,
README.md.
"""

import json
import logging
from pathlib import Path
from typing import Any, Self, TypeVar

from huggingface_hub import ModelCard, PyTorchModelHubMixin, hf_hub_download
from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cola_world.models.action_adaln import ActionAdaLN
from cola_world.models.config import Config
from cola_world.models.lam import LAM
from cola_world.models.layers import count
from cola_world.models.stdit3 import STDiT3
from cola_world.models.system import SystemConfig
from cola_world.models.world_model import WorldModel

LICENCE = "mit"
TEMPLATE = (Path(__file__).parent / "model_card.md.j2").read_text()


class Frames(Config):
    """The clips that a model was trained on: frames per clip, side of the cached frame and of its crop in pixels."""

    num_frames: int = Field(8, ge=2)
    size: int | None = None
    crop: int | None = None


class ModelConfig(Config):
    """config.json. `fdm`: whether the LAM has its decoder. `trained` and `metrics`: what the card says of the run."""

    system: SystemConfig
    fdm: bool = False
    frames: Frames = Frames()
    trained: dict[str, Any] = {}
    metrics: dict[str, float] = {}


# The mixin knows only JSON types, and every class has to be told of others.
CODERS = {ModelConfig: (lambda config: config.model_dump(mode="json"), ModelConfig.model_validate)}
Model = TypeVar("Model", bound="SafeHubMixin")


class SafeHubMixin(
    PyTorchModelHubMixin,
    library_name="cola-world",
    license=LICENCE,
    tags=["world-model", "latent-actions"],
    model_card_template=TEMPLATE,
    coders=CODERS,
):
    """huggingface_hub's mixin, restricted to safetensors and to exactly the expected names."""

    title = summary = ""

    @classmethod
    def _from_pretrained(cls, *, model_id: str, map_location: str = "cpu", **options: Any) -> Self:
        if "config" not in options:
            raise ValueError(f"{model_id}: expected config.json, found none; name a folder that save_pretrained wrote")
        model = cls(options.pop("config"))
        folder = Path(model_id)
        file = folder / SAFETENSORS_SINGLE_FILE if folder.is_dir() else hf_hub_download(model_id, SAFETENSORS_SINGLE_FILE, **options)
        try:
            load_exactly(model, load_file(file, device=str(map_location)))
        except (FileNotFoundError, SafetensorError, ValueError) as error:
            raise ValueError(f"{file}: expected the weights of {cls.__name__}, found other ({first_line(error)})") from None
        return model.to(map_location).eval()

    def generate_model_card(self, **kwargs: Any) -> ModelCard:
        config: ModelConfig = self.model_config
        return super().generate_model_card(
            title=self.title,
            summary=self.summary,
            class_name=type(self).__name__,
            parameters=parameter_counts(self),
            trained=config.trained,
            metrics=config.metrics,
            config=json.dumps(config.model_dump(mode="json", include={"system", "fdm", "frames"}), indent=1, sort_keys=True),
            licence=LICENCE.upper(),
            **kwargs,
        )


class LatentActionModel(LAM, SafeHubMixin, tags=["inverse-dynamics"], coders=CODERS):
    """The LAM as training has it: IDM and quantiser, and the FDM where it was trained with them (paper B.1)."""

    title = "Latent action model"
    summary = "Reads a clip and writes one latent action a frame pair: two codes of a codebook, and their vectors (CoLA-World)."

    def __init__(self, config: ModelConfig):
        super().__init__(config.system, fdm=config.fdm)
        self.model_config = config


class ActionWorldModel(WorldModel, SafeHubMixin, tags=["video-diffusion"], coders=CODERS):
    """STDiT3 driven by latent actions through action AdaLN (paper 3.3), in the latent space of the run's VAE."""

    title = "Latent action world model"
    summary = "Imagines video latents from a frame's latents and a sequence of latent actions, by rectified flow (CoLA-World)."

    def __init__(self, config: ModelConfig):
        system = config.system
        action_adaln = ActionAdaLN(system.action_adaln, system.action_size, system.stdit3.width)
        super().__init__(STDiT3(system.stdit3), action_adaln, system.flow)
        self.model_config = config


def load(kind: type[Model], where: str) -> Model:
    """Load a model from a folder, or `owner/name` from the hub. Raises ValueError in one line."""
    if where.startswith((".", "/", "~")) and not Path(where).is_dir():
        raise ValueError(f"{where}: expected a folder, found none")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its warnings of every retry would hide the one line
    try:
        return kind.from_pretrained(where)
    except ValidationError as error:
        raise ValueError(f"{where}: config.json is not that of {kind.__name__} ({first_line(error)})") from None
    except OSError as error:
        raise ValueError(f"{where}: neither a folder here nor a model that the hub gave ({first_line(error)})") from None


def load_exactly(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load `tensors` into the model. Raises ValueError that names the first missing, unknown or misshapen one."""
    wanted, found = ({name: tuple(tensor.shape) for name, tensor in own.items()} for own in (model.state_dict(), tensors))
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise ValueError(f"{name}: {wanted.get(name, 'none')} expected, {found.get(name, 'none')} found")
    model.load_state_dict(tensors)


def from_snapshot(kind: type[Model], config: ModelConfig, tensors: dict[str, Tensor]) -> Model:
    """Build a model from its own among the `part.name` tensors of a snapshot."""
    model = kind(config)
    parts = {name for name, _ in model.named_children()}
    # Snapshots hold what learns. What the architecture fixes comes from the new model.
    fixed = {name: parameter for name, parameter in model.named_parameters() if not parameter.requires_grad}
    load_exactly(model, fixed | {name: tensor for name, tensor in tensors.items() if name.partition(".")[0] in parts})
    return model


def first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Count parameters by part, and in `total`."""
    counts = {name: count(part) for name, part in model.named_children()}
    return counts | {"total": sum(counts.values())}
