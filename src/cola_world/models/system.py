"""The whole system of Figure 1: LAM (IDM, VQ, FDM) and world model (action AdaLN, STDiT3), built from one config."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from cola_world.models.action_adaln import ActionAdaLN, ActionAdaLNConfig
from cola_world.models.fdm import FDM, FDMConfig
from cola_world.models.flow import FlowConfig
from cola_world.models.idm import IDM, IDMConfig
from cola_world.models.quantizer import Quantized, QuantizerConfig, VectorQuantizer
from cola_world.models.stdit3 import STDiT3, STDiT3Config
from cola_world.models.world_model import WorldModel


class SystemConfig(BaseModel):
    """One config a box."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    idm: IDMConfig
    fdm: FDMConfig
    quantizer: QuantizerConfig = QuantizerConfig()
    action_adaln: ActionAdaLNConfig
    stdit3: STDiT3Config
    flow: FlowConfig = FlowConfig()
    # not in paper: because codes are about 1/32 in size, a gain sets how loud they enter FDM and action AdaLN alike.
    action_gain: float = 1.0


class System(nn.Module):
    """The five trainable parts by the names that the phase table uses, and how they are joined."""

    def __init__(self, config: SystemConfig, seed: int):
        super().__init__()
        self.config = config
        action_size = config.idm.tokens * config.idm.token_size
        with seeded(seed, "idm"):
            self.idm = IDM(config.idm)
        with seeded(seed, "quantizer"):
            self.quantizer = VectorQuantizer(config.quantizer)
        with seeded(seed, "fdm"):
            self.fdm = FDM(config.fdm)
        with seeded(seed, "action_adaln"):
            action_adaln = ActionAdaLN(config.action_adaln, action_size, config.stdit3.width)
        with seeded(seed, "stdit3"):
            stdit3 = STDiT3(config.stdit3)
        self.world_model = WorldModel(stdit3, action_adaln, config.flow)

    def parts(self) -> dict[str, nn.Module]:
        """Name in the phase table -> module."""
        return {
            "idm": self.idm,
            "quantizer": self.quantizer,
            "fdm": self.fdm,
            "action_adaln": self.world_model.action_adaln,
            "stdit3": self.world_model.stdit3,
        }

    def lam_video(self, video_BTCYX: Tensor) -> Tensor:
        """The clip at the LAM's own resolution (paper B.1, B.2: 224 px where the world model sees 256)."""
        size = self.config.idm.image_size
        if video_BTCYX.shape[-1] == size:
            return video_BTCYX
        frames = F.interpolate(video_BTCYX.flatten(0, 1), size=(size, size), mode="bilinear", antialias=True)
        return frames.unflatten(0, video_BTCYX.shape[:2])

    def latent_actions(self, video_BTCYX: Tensor) -> Quantized:
        """RGB in [0, 1] -> quantised latent actions; `z_BAMZ` carries the straight-through gradient, at `action_gain`."""
        quantized = self.quantizer(self.idm(self.lam_video(video_BTCYX)))
        return quantized._replace(z_BAMZ=self.config.action_gain * quantized.z_BAMZ)


@contextmanager
def seeded(seed: int, name: str) -> Iterator[None]:
    """Initialise a module from (seed, its name) alone, so that two arms with one seed start with equal modules."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(digest[:7], "big"))
        yield
