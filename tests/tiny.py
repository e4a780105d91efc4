"""A system small enough for a test, and batches it can learn from."""

import torch

from cola_world.data.batches import Batch
from cola_world.models.autoencoder import VAEConfig
from cola_world.models.opensora_vae import OpenSoraVAEConfig
from cola_world.models.system import System, SystemConfig
from cola_world.models.temporal_vae import TemporalVAEConfig

CONFIG = SystemConfig(
    idm={"image_size": 16, "patch_size": 8, "width": 16, "depth": 2, "heads": 2},
    fdm={"image_size": 16, "patch_size": 8, "width": 16, "depth": 1, "heads": 2},
    action_adaln={"depth": 2, "heads": 2, "width": 16},
    stdit3={"width": 32, "depth": 2, "heads": 2, "pixel_size": 16},
    flow={"timesteps": "uniform"},
)

SPATIAL = VAEConfig(channels=[8, 8, 8], groups=4)
OPENSORA = OpenSoraVAEConfig(spatial=SPATIAL, temporal=TemporalVAEConfig(width=8, res_blocks=1, groups=4))
GROUPED = CONFIG.model_copy(update={"action_adaln": CONFIG.action_adaln.model_copy(update={"actions_per_latent_frame": 4})})
CONTINUOUS = CONFIG.model_copy(update={"bottleneck": "vae"})
CONFIGS = {"vq": CONFIG, "vae": CONTINUOUS}


def system(seed: int = 0, config: SystemConfig = CONFIG) -> System:
    return System(config, seed)


def awake(seed: int = 0, config: SystemConfig = CONFIG) -> System:
    """A system whose zero-initialised projections have values, so that every path carries signal."""
    tiny = system(seed, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in tiny.parameters():
            if parameter.abs().sum() == 0:
                parameter.normal_(std=0.1, generator=generator)
    return tiny


class RandomBatches:
    """Noise with the shapes of clips, a pure function of the step."""

    def __init__(self, frames: int = 3):
        self.frames = frames

    def at(self, step: int, size: int, crop: bool, clips: slice = slice(None)) -> Batch:
        generator = torch.Generator().manual_seed(step)
        video = torch.rand(size, self.frames, 3, 16, 16, generator=generator)
        return Batch(video[clips], torch.randn(size, self.frames, 4, 4, 4, generator=generator)[clips])
