"""The codes of a LAM that learns by itself tell the direction in which the square moves."""

import pytest
import torch
import torch.nn.functional as F
from world import MOVES, directions, held_out, lam

from cola_world.models.system import System


def known(system: System, video: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the codes of all pairs, one-hot with a 1 for the bias, and their moves in rows and columns."""
    with torch.no_grad():
        indices_NM = system.lam.latent_actions(video).indices_BAM.flatten(0, 1)
    codes_NK = F.one_hot(indices_NM, system.config.quantizer.codes).flatten(1)
    return F.pad(codes_NK, (0, 1), value=1).double(), MOVES[directions(video)].flatten(0, 1).double()


def r_squared(system: System) -> float:
    """Return the share of the moves' variance that a linear map of the codes explains, on pairs that it was not fitted to."""
    (codes, moves), (seen, wanted) = (known(system, half) for half in held_out(512, frames=2).video.chunk(2))
    error = seen @ (torch.linalg.pinv(codes) @ moves) - wanted
    return 1 - (error.square().sum() / (wanted - wanted.mean(0)).square().sum()).item()


@pytest.mark.slow
def test_codes_tell_the_direction_within_300_steps():
    """R² ends at 1.00 with each of the seeds 0 to 9. A random IDM tells the direction as well with some of them (1, 2, 5), as four
    kinds of pairs fall on four codes by chance; with seed 0 its R² is -0.01, and 0.31 where actions are multiplied by 0.
    """
    assert r_squared(lam(steps=0)) < 0.5
    assert r_squared(lam(steps=300)) > 0.9
