"""LAM: the latent action model of Figure 1, made of IDM, bottleneck and FDM (paper 3.1, B.1).

Shape letters: B clips, T frames, A actions (= T - 1), M tokens of an action, Z token size, C colour channels, Y X
pixels.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from cola_world.models.config import Config
from cola_world.models.continuous import Continuous, ContinuousBottleneck, ContinuousConfig
from cola_world.models.fdm import FDM, FDMConfig
from cola_world.models.idm import IDM, IDMConfig
from cola_world.models.layers import seeded
from cola_world.models.pixels import unit_pixels
from cola_world.models.quantizer import Quantized, QuantizerConfig, VectorQuantizer

LatentActions = Quantized | Continuous


class LAMConfig(Config):
    """The config of each box, and which bottleneck stands between IDM and FDM."""

    idm: IDMConfig
    fdm: FDMConfig
    bottleneck: Literal["vq", "vae"] = "vq"
    quantizer: QuantizerConfig = QuantizerConfig()
    continuous: ContinuousConfig = ContinuousConfig()
    # not in paper: because codes are about 1/32 in size, a gain sets how loud they enter FDM and action AdaLN alike;
    # continuous actions have unit size by their KL and want 1.
    action_gain: float = 1.0

    @property
    def action_size(self) -> int:
        """Number of values of one latent action, its tokens concatenated."""
        return self.idm.tokens * self.idm.token_size


class LAM(nn.Module):
    """Reads a clip and writes latent actions. Only training the LAM by itself needs the FDM, so it may be left out."""

    def __init__(self, config: LAMConfig, seed: int = 0, fdm: bool = True):
        super().__init__()
        self.config = config
        with seeded(seed, "idm"):
            self.idm = IDM(config.idm)
        with seeded(seed, "quantizer"):
            self.quantizer = build_bottleneck(config)
        if fdm:
            with seeded(seed, "fdm"):
                self.fdm = FDM(config.fdm)

    def video(self, video_BTCYX: Tensor) -> Tensor:
        """Bring the clip to [0, 1] and to the LAM's own resolution (paper B.1, B.2: 224 px where the world model sees
        256).
        """
        size, video_BTCYX = self.config.idm.image_size, unit_pixels(video_BTCYX)
        if video_BTCYX.shape[-1] == size:
            return video_BTCYX
        frames = F.interpolate(video_BTCYX.flatten(0, 1), size=(size, size), mode="bilinear", antialias=True)
        return frames.unflatten(0, video_BTCYX.shape[:2])

    def latent_actions(self, video_BTCYX: Tensor, noise_BAMZ: Tensor | None = None) -> LatentActions:
        """Infer latent actions from RGB, uint8 or in [0, 1]; `z_BAMZ` is scaled by `action_gain` and passes gradients
        to the IDM.

        Continuous actions are samples drawn with `noise` from N(0, 1), or posterior means without it.
        """
        actions = self.quantizer(self.idm(self.video(video_BTCYX)), noise_BAMZ)
        return actions._replace(z_BAMZ=self.config.action_gain * actions.z_BAMZ)


def build_bottleneck(config: LAMConfig) -> nn.Module:
    """Build the quantiser of the paper, or the VAE bottleneck that replaces it in D.5."""
    if config.bottleneck == "vae":
        return ContinuousBottleneck(config.continuous, config.idm.token_size)
    return VectorQuantizer(config.quantizer)
