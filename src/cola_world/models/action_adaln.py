"""Action AdaLN: latent actions into scale, shift and gate of every world model block (paper 3.3 and B.2).

Shape letters: B clips, A actions, Z values of an action, G groups of actions, T latent frames (= G + 1), D width of the world
model, W own width. Without grouping G is A.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cola_world.models.config import Config
from cola_world.models.layers import MLP, Attention, initialise_linear, sincos_1d


class ActionAdaLNConfig(Config):
    """Paper B.2: 6 self-attention blocks and an MLP, about 74 M parameters at width 1152."""

    depth: int
    heads: int
    width: int | None = None
    mlp_ratio: float = 2.0
    # not in paper: because the paper does not say how actions meet a VAE that joins frames, the actions that lead to
    # one latent frame are concatenated.
    actions_per_latent_frame: int = Field(1, ge=1)
    # not in paper: because B.2 zeroes the action attention blocks "to ensure a steady training at the beginning", and
    # that alone would still disturb the pre-trained model at the fork, the modulation starts at zero as well; `blocks`
    # is the literal reading.
    zero_at_start: Literal["modulation", "blocks"] = "modulation"


class ActionBlock(nn.Module):
    """Pre-norm causal self-attention over the actions of a clip, then an MLP."""

    def __init__(self, width: int, heads: int, mlp_ratio: float):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        # not in paper: because a later action must not change an earlier frame, attention is causal.
        self.attn = Attention(width, heads, causal=True)
        self.mlp = MLP(width, int(width * mlp_ratio))

    def forward(self, x_BAW: Tensor) -> Tensor:
        x_BAW = x_BAW + self.attn(self.norm1(x_BAW))
        return x_BAW + self.mlp(self.norm2(x_BAW))


class ActionAdaLN(nn.Module):
    """One modulation for all world model blocks; frame 0, which no action leads to, gets none."""

    def __init__(self, config: ActionAdaLNConfig, action_size: int, model_width: int):
        super().__init__()
        self.config, self.model_width = config, model_width
        width = config.width or model_width
        group_size = config.actions_per_latent_frame * action_size
        self.embed = nn.Sequential(nn.Linear(group_size, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(ActionBlock(width, config.heads, config.mlp_ratio) for _ in range(config.depth))
        self.out = nn.Sequential(nn.Linear(width, model_width), nn.SiLU(), nn.Linear(model_width, 6 * model_width))
        self.apply(initialise_linear)
        for block in self.blocks:
            # Zero output projections make the blocks start as the identity (paper B.2); zeroing whole blocks
            # would leave their weights without a gradient for ever.
            nn.init.zeros_(block.attn.proj.weight)
            nn.init.zeros_(block.mlp.fc2.weight)
        if config.zero_at_start == "modulation":
            nn.init.zeros_(self.out[2].weight)

    def group(self, z_BAZ: Tensor) -> Tensor:
        """Concatenate the actions that lead to each latent frame after the first: [B, A, Z] -> [B, G, n * Z]."""
        size, actions = self.config.actions_per_latent_frame, z_BAZ.shape[1]
        if actions % size:
            raise ValueError(f"action AdaLN: {actions} actions do not make groups of {size}; a clip needs 1 + {size} n frames")
        return z_BAZ.unflatten(1, (-1, size)).flatten(2)

    def forward(self, z_BGZ: Tensor) -> Tensor:
        """z: grouped latent actions [B, G, n * Z], zero where dropped for guidance -> modulation [B, G + 1, 6, D]."""
        x_BGW = self.embed(z_BGZ)
        places_G = torch.arange(x_BGW.shape[1], device=x_BGW.device)
        x_BGW = x_BGW + sincos_1d(x_BGW.shape[-1], places_G).to(x_BGW)
        for block in self.blocks:
            x_BGW = block(x_BGW)
        modulation_BG6D = self.out(x_BGW).unflatten(-1, (6, self.model_width))
        return F.pad(modulation_BG6D, (0, 0, 0, 0, 1, 0))
