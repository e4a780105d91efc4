"""A world in which there is something to learn: one bright square on a plain ground that moves in one of four directions.

The picture has 3 x 3 cells of 2 x 2 pixels. The square fills a cell, begins in the middle, and moves by one cell a frame; beyond
an edge it comes in at the other. Directions are drawn evenly, so that nothing but the action tells where the square goes.
Shape letters: B clips, T frames, A actions (= T - 1), C colour channels, Y X pixels, y x cells.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from cola_world.data.batches import Batch
from cola_world.models.lam import LAM
from cola_world.models.layers import step_generator
from cola_world.models.quantizer import Quantized
from cola_world.models.system import System, SystemConfig
from cola_world.training.loop import Trainer, TrainingConfig
from cola_world.training.phases import PHASES, Phase

GRID, CELL = 3, 2
SIZE = GRID * CELL
GROUND, BRIGHT = 0.2, 0.9
MOVES = torch.tensor([(0, 1), (0, -1), (1, 0), (-1, 0)])  # rows and columns, by direction
# The LAM sees a frame as one patch, because in 300 steps a small one does not learn to move a square from patch to patch. It reads
# a pair by its difference.
CONFIG = SystemConfig(
    idm={"image_size": SIZE, "patch_size": SIZE, "width": 64, "depth": 1, "heads": 4, "pairs": "difference"},
    fdm={"image_size": SIZE, "patch_size": SIZE, "width": 64, "depth": 1, "heads": 4},
    action_adaln={"depth": 1, "heads": 2, "width": 32},
    stdit3={"width": 32, "depth": 2, "heads": 2, "channels": 1, "patch_size": 1, "pixel_size": 32},
    flow={"timesteps": "uniform", "shift": 4.0},
)
WORLD_MODEL = TrainingConfig(batch_size=32, learning_rate=3e-3, rise=20)
LATENT_ACTIONS = TrainingConfig(batch_size=32, learning_rate=5e-4, rise=20, vq_weight=0.25)
# The true actions drive a world model that stays as it is; the phase table has no such row, because no run of the paper has.
FROZEN = Phase(("action_adaln",), ("flow",), "frozen")
DEVIATION = (GRID**2 - 1) ** 0.5 / GRID**2  # of a cell that is 1 in one of 9 cases, and 0 otherwise


class Cells:
    """Stand in for the VAE, without error: a latent is the brightness of a cell, with zero mean and unit variance."""

    frames_per_latent = 1

    def encode(self, video_BTCYX: Tensor) -> Tensor:
        cells_BT1yx = F.avg_pool2d(video_BTCYX.mean(2), CELL)[:, :, None]
        return ((cells_BT1yx - GROUND) / (BRIGHT - GROUND) - 1 / GRID**2) / DEVIATION

    def decode(self, latents_BTCyx: Tensor, frames: int) -> Tensor:
        cells_BT1yx = GROUND + (BRIGHT - GROUND) * (latents_BTCyx * DEVIATION + 1 / GRID**2)
        return cells_BT1yx.repeat_interleave(CELL, -1).repeat_interleave(CELL, -2).repeat(1, 1, 3, 1, 1)

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        return frames, 1, height // CELL, width // CELL


class Squares:
    """Clips of the world as training batches, a pure function of (seed, step)."""

    def __init__(self, seed: int, frames: int = 3):
        self.seed, self.frames = seed, frames

    def at(self, step: int, size: int, crop: bool, clips: slice = slice(None)) -> Batch:
        direction_BA = torch.randint(len(MOVES), (size, self.frames - 1), generator=step_generator(self.seed, step))
        moved_BT2 = F.pad(MOVES[direction_BA].cumsum(1), (0, 0, 1, 0))
        row_BT, column_BT = ((moved_BT2 + GRID // 2) % GRID).unbind(-1)
        cell = F.one_hot(row_BT * GRID + column_BT, GRID**2).unflatten(-1, (1, GRID, GRID))
        latents = ((cell - 1 / GRID**2) / DEVIATION)[clips]
        return Batch(Cells().decode(latents, self.frames), latents)


def held_out(clips: int = 256, frames: int = 3) -> Batch:
    """Return clips of a seed that no run trains on."""
    return Squares(seed=1000, frames=frames).at(0, clips, crop=False)


def directions(video_BTCYX: Tensor) -> Tensor:
    """Read the true actions off the video: the number of each direction in `MOVES` [B, A]."""
    cell_BT = Cells().encode(video_BTCYX).flatten(2).argmax(-1)
    moved_BA2 = (torch.stack((cell_BT // GRID, cell_BT % GRID), -1).diff(dim=1) + 1) % GRID - 1
    return (moved_BA2[:, :, None] == MOVES).all(-1).int().argmax(-1)


class Told(LAM):
    """Stand in for a LAM that has learnt all there is: its latent actions are the true directions, one-hot, times the gain."""

    def latent_actions(self, video_BTCYX: Tensor, noise_BAMZ: Tensor | None = None) -> Quantized:
        idm, direction_BA = self.config.idm, directions(video_BTCYX)
        z_BAZ = self.config.action_gain * F.one_hot(direction_BA, idm.tokens * idm.token_size).float()
        indices_BAM = direction_BA[..., None].expand(-1, -1, idm.tokens)
        return Quantized(z_BAZ.unflatten(-1, (idm.tokens, idm.token_size)), indices_BAM, z_BAZ.new_zeros(()), z_BAZ.new_zeros(()))


def train(system: System, phase: Phase, steps: int, config: TrainingConfig, seed: int, frames: int = 3) -> System:
    """Train by the one loop of the library."""
    trainer = Trainer(system, phase, config, Squares(seed, frames), seed)
    for _ in range(steps):
        trainer.train_step()
    return system


@functools.cache
def prior(seed: int = 0) -> dict[str, Tensor]:
    """Return the weights of an STDiT3 that knows the world but no actions, by the row `pretrain`."""
    return train(System(CONFIG, seed), PHASES["pretrain"], 150, WORLD_MODEL, seed).world_model.stdit3.state_dict()


def lam(gain: float = 1.0, seed: int = 0, steps: int = 300) -> System:
    """Return a system whose LAM has learnt from frame pairs by itself; with gain 0 its FDM never hears an action."""
    config = CONFIG.model_copy(update={"action_gain": gain})
    return train(System(config, seed), PHASES["lam"], steps, LATENT_ACTIONS, seed, frames=2)


def pretrained(seed: int = 0, config: SystemConfig = CONFIG) -> System:
    """Return a fresh system, but for the world model's prior; a phase begins with the temporal mask on."""
    system = System(config, seed)
    system.world_model.stdit3.load_state_dict(prior(seed))
    system.world_model.stdit3.set_causal(True)
    return system


def told(gain: float = 1.0, seed: int = 0) -> System:
    """Return a pre-trained system that is told the true actions, or with gain 0 none."""
    system = pretrained(seed)
    system.lam = Told(CONFIG.model_copy(update={"action_gain": gain}))
    return system
