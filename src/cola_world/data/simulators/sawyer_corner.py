"""Meta-World's Sawyer as another laboratory has it: other tasks, filmed from a corner of the table."""

import numpy as np

from cola_world.data.simulators import Episode, Filming
from cola_world.data.simulators.sawyer import Scene, film
from cola_world.data.simulators.scene import View

CORNER = Scene(
    ("window-open-v3", "hammer-v3", "coffee-button-v3", "plate-slide-v3", "shelf-place-v3", "soccer-v3"),
    View(np.array([0.0, 0.60, 0.25]), 0.95, 315.0, -38.0),
)


def record(rng: np.random.Generator, frames: int, size: int, fps: int, filming: Filming) -> Episode:
    return film(CORNER, rng, frames, size, fps, filming)
