"""FDM: the forward dynamics model of the 2-stage baseline, a spatial transformer on o_t and its action (paper B.1).

Shape letters: N frame pairs, S patches, D width, E values of a patch, C colour channels, Y X pixels.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from cola_world.models.config import Config
from cola_world.models.layers import Attention, SwiGLU, initialise_linear, sincos_2d
from cola_world.models.pixels import normalise_pixels, unnormalise_pixels


class FDMConfig(Config):
    """Paper B.1: 12 blocks with the IDM's width and heads."""

    image_size: int
    patch_size: int
    width: int
    depth: int
    heads: int
    action_size: int = 64


class SpatialBlock(nn.Module):
    """Pre-norm attention and SwiGLU, each scaled by a learned vector that starts at 0.1."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(width, eps=1e-6), nn.RMSNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.mlp = SwiGLU(width, 4 * width)
        # not in paper: because the published LAM of the same authors scales its residual branches so, these start at
        # 0.1.
        self.scale1, self.scale2 = (nn.Parameter(torch.full((width,), 0.1)) for _ in range(2))

    def forward(self, x_NLD: Tensor) -> Tensor:
        x_NLD = x_NLD + self.scale1 * self.attn(self.norm1(x_NLD))
        return x_NLD + self.scale2 * self.mlp(self.norm2(x_NLD))


class FDM(nn.Module):
    """Predicts the patches of o_{t+1} from o_t and one fused action token (teacher forcing, paper B.3)."""

    def __init__(self, config: FDMConfig):
        super().__init__()
        self.config = config
        width, patch, grid = config.width, config.patch_size, config.image_size // config.patch_size
        self.patch = nn.Conv2d(3, width, patch, stride=patch)
        # not in paper: because B.1 speaks of action tokens and the published LAM fuses them, the FDM reads one token.
        self.action = nn.Linear(config.action_size, width)
        self.blocks = nn.ModuleList(SpatialBlock(width, config.heads) for _ in range(config.depth))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.out = nn.Linear(width, 3 * patch * patch)
        self.register_buffer("positions_SD", sincos_2d(width, grid, grid), persistent=False)
        self.apply(initialise_linear)

    def forward(self, frame_NCYX: Tensor, action_NZ: Tensor) -> Tensor:
        """frame: normalised pixels [N, 3, size, size]; action [N, action_size] -> patches of the next frame [N, S, E]."""
        x_NSD = self.patch(frame_NCYX).flatten(2).transpose(1, 2) + self.positions_SD
        x_NLD = torch.cat((self.action(action_NZ)[:, None], x_NSD), dim=1)
        for block in self.blocks:
            x_NLD = block(x_NLD)
        return self.out(self.norm(x_NLD[:, 1:]))

    def imagine(self, frame_BCYX: Tensor, action_BAZ: Tensor) -> Tensor:
        """frame: RGB in [0, 1] [B, 3, size, size] -> the frames that the actions lead to [B, A, 3, size, size], each from the
        one imagined before.
        """
        p, grid, frame, imagined = self.config.patch_size, self.config.image_size // self.config.patch_size, frame_BCYX, []
        for action_BZ in action_BAZ.unbind(1):
            patches_BSE = self(normalise_pixels(frame), action_BZ)
            frame = unnormalise_pixels(rearrange(patches_BSE, "b (y x) (c p q) -> b c (y p) (x q)", y=grid, p=p, q=p))
            imagined.append(frame)
        return torch.stack(imagined, dim=1)

    def loss(self, video_BTCYX: Tensor, action_BAZ: Tensor | None) -> Tensor:
        """Return the mean squared error of the next frames of each clip [B] (paper B.3); without actions, theirs are zero.

        not in paper: because the paper does not say in which units the error is taken, pixels are normalised by
        ImageNet's mean and deviation, as the IDM and the FDM see them.
        """
        pixels = normalise_pixels(video_BTCYX)
        frames = pixels[:, :-1].flatten(0, 1)
        actions = frames.new_zeros(len(frames), self.config.action_size) if action_BAZ is None else action_BAZ.flatten(0, 1)
        predicted, p = self(frames, actions), self.config.patch_size
        target = rearrange(pixels[:, 1:], "b a c (y p) (x q) -> (b a) (y x) (c p q)", p=p, q=p)
        return (predicted - target).square().unflatten(0, pixels[:, 1:].shape[:2]).mean(dim=(1, 2, 3))
