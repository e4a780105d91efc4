"""The whole system of Figure 1: LAM (IDM, VQ, FDM) and world model (action AdaLN, STDiT3), built from one config."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from cola_world.models.action_adaln import ActionAdaLN, ActionAdaLNConfig
from cola_world.models.continuous import Continuous, ContinuousBottleneck, ContinuousConfig
from cola_world.models.fdm import FDM, FDMConfig
from cola_world.models.flow import FlowConfig
from cola_world.models.idm import IDM, IDMConfig, unit_pixels
from cola_world.models.quantizer import Quantized, QuantizerConfig, VectorQuantizer
from cola_world.models.stdit3 import STDiT3, STDiT3Config
from cola_world.models.world_model import WorldModel

LatentActions = Quantized | Continuous


class SystemConfig(BaseModel):
    """One config a box."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    idm: IDMConfig
    fdm: FDMConfig
    bottleneck: Literal["vq", "vae"] = "vq"
    quantizer: QuantizerConfig = QuantizerConfig()
    continuous: ContinuousConfig = ContinuousConfig()
    action_adaln: ActionAdaLNConfig
    stdit3: STDiT3Config
    flow: FlowConfig = FlowConfig()
    # not in paper: because codes are about 1/32 in size, a gain sets how loud they enter FDM and action AdaLN alike;
    # continuous actions have unit size by their KL and want 1.
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
            self.quantizer = build_bottleneck(config)
        with seeded(seed, "fdm"):
            self.fdm = FDM(config.fdm)
        with seeded(seed, "action_adaln"):
            action_adaln = ActionAdaLN(config.action_adaln, action_size, config.stdit3.width)
        with seeded(seed, "stdit3"):
            stdit3 = STDiT3(config.stdit3)
        self.world_model = WorldModel(stdit3, action_adaln, config.flow)

    def parts(self) -> dict[str, nn.Module]:
        """Name in the phase table -> module; whatever stands in the quantiser's place goes by its name."""
        return {
            "idm": self.idm,
            "quantizer": self.quantizer,
            "fdm": self.fdm,
            "action_adaln": self.world_model.action_adaln,
            "stdit3": self.world_model.stdit3,
        }

    def lam_video(self, video_BTCYX: Tensor) -> Tensor:
        """The clip in [0, 1] at the LAM's own resolution (paper B.1, B.2: 224 px where the world model sees 256)."""
        size, video_BTCYX = self.config.idm.image_size, unit_pixels(video_BTCYX)
        if video_BTCYX.shape[-1] == size:
            return video_BTCYX
        frames = F.interpolate(video_BTCYX.flatten(0, 1), size=(size, size), mode="bilinear", antialias=True)
        return frames.unflatten(0, video_BTCYX.shape[:2])

    def latent_actions(self, video_BTCYX: Tensor, noise_BAMZ: Tensor | None = None) -> LatentActions:
        """RGB, uint8 or in [0, 1] -> latent actions; `z_BAMZ` at `action_gain`, with the gradient to the IDM.

        Continuous ones are samples by `noise` of N(0, 1) where it is given, and the posterior's mean where it is not.
        """
        actions = self.quantizer(self.idm(self.lam_video(video_BTCYX)), noise_BAMZ)
        return actions._replace(z_BAMZ=self.config.action_gain * actions.z_BAMZ)


def build_bottleneck(config: SystemConfig) -> nn.Module:
    if config.bottleneck == "vae":
        return ContinuousBottleneck(config.continuous, config.idm.token_size)
    return VectorQuantizer(config.quantizer)


@contextmanager
def seeded(seed: int, name: str) -> Iterator[None]:
    """Initialise a module from (seed, its name) alone, so that two arms with one seed start with equal modules."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(digest[:7], "big"))
        yield
