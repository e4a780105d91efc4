"""The whole system of Figure 1: LAM and world model, built from one config."""

import torch
from torch import nn

from cola_world.models.action_adaln import ActionAdaLN, ActionAdaLNConfig
from cola_world.models.flow import FlowConfig
from cola_world.models.lam import LAM, LAMConfig
from cola_world.models.layers import count, seeded
from cola_world.models.stdit3 import STDiT3, STDiT3Config
from cola_world.models.world_model import WorldModel


class SystemConfig(LAMConfig):
    """The configs of the LAM's boxes and of the world model's."""

    action_adaln: ActionAdaLNConfig
    stdit3: STDiT3Config
    flow: FlowConfig = FlowConfig()


class System(nn.Module):
    """LAM and world model. A training phase chooses which of their five parts learn."""

    def __init__(self, config: SystemConfig, seed: int):
        super().__init__()
        self.config = config
        self.lam = LAM(config, seed)
        with seeded(seed, "action_adaln"):
            action_adaln = ActionAdaLN(config.action_adaln, config.action_size, config.stdit3.width)
        with seeded(seed, "stdit3"):
            stdit3 = STDiT3(config.stdit3)
        self.world_model = WorldModel(stdit3, action_adaln, config.flow)

    def parts(self) -> dict[str, nn.Module]:
        """Map names in the phase table to modules. Either bottleneck goes by the name `quantizer`."""
        return {
            "idm": self.lam.idm,
            "quantizer": self.lam.quantizer,
            "fdm": self.lam.fdm,
            "action_adaln": self.world_model.action_adaln,
            "stdit3": self.world_model.stdit3,
        }


def meta_system(config: SystemConfig) -> System:
    """Build the system with shapes only; nothing is allocated."""
    with torch.device("meta"):
        return System(config, seed=0)


def count_parts(config: SystemConfig) -> dict[str, int]:
    """Count parameters by part, named as in the phase table. The frozen VAE is not part of the system."""
    return {name: count(part) for name, part in meta_system(config).parts().items()}
