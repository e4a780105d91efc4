"""The Adroit hand close up: the whole hand sways while its fingers open and close.

Stands in for human video, so its actions are hidden.
"""

from functools import cache

import mujoco
import numpy as np

from cola_world.data.simulators import Episode, Filming
from cola_world.data.simulators.scene import (
    Camera,
    RandomTargets,
    Studio,
    View,
    installed_file,
    relight,
    shoot_episode,
    steps_per_frame,
    tint,
)

ACTIONS = tuple(f"joint{number}" for number in range(30))
ACTION_DIM = len(ACTIONS)
SKIN, SLEEVE = np.array([0.85, 0.62, 0.48]), np.array([0.15, 0.35, 0.75])
ARM, WRIST = 6, 2  # the first actuators: slides and turns of the forearm, then the wrist
VIEW = View(np.array([0.0, -0.20, 0.26]), 0.32, 90.0, -60.0)
# The arm's servos rest at ARM_HOME and an action of ±1 moves them by ARM_REACH: the hand stays in the picture.
ARM_HOME = np.array([0.0, 0.04, 0.0, 0.0, 0.0, 0.0])
ARM_REACH = np.array([0.022, 0.02, 0.03, 0.05, 0.05, 0.2])


@cache
def _stage(size: int) -> tuple[Studio, mujoco.MjData]:
    path = installed_file("gymnasium_robotics", "envs", "assets", "adroit_hand", "adroit_relocate.xml")
    model = mujoco.MjModel.from_xml_path(path)
    _stiffen(model)
    return Studio(model, size, detail=0.002), mujoco.MjData(model)


def _stiffen(model: mujoco.MjModel) -> None:
    """Position servos as in the published Adroit tasks: wrist 10, fingers 1."""
    for index, gain in [(slice(ARM, ARM + WRIST), 10.0), (slice(ARM + WRIST, ACTION_DIM), 1.0)]:
        model.actuator_gainprm[index, 0] = gain
        model.actuator_biasprm[index, 1] = -gain


def record(rng: np.random.Generator, frames: int, size: int, fps: int, filming: Filming) -> Episode:
    """One episode: arm, wrist and each finger chase their own targets, which jump every few frames."""
    studio, data = _stage(size)
    model = studio.model
    studio.reset_look()
    mujoco.mj_resetData(model, data)
    tint(model.mat_rgba, rng, 0.35 * filming.variety)
    _dress(model, rng, filming.variety)
    relight(model, rng, filming.variety)
    camera = Camera(rng, VIEW, filming)
    middle, half = model.actuator_ctrlrange.mean(1), np.ptp(model.actuator_ctrlrange, axis=1) / 2
    middle[:ARM], half[:ARM] = ARM_HOME, ARM_REACH
    arm = RandomTargets(rng, [-1] * ARM, [1] * ARM, hold=(3, 7))
    curl = RandomTargets(rng, [-1] * 5, [1] * 5, hold=(2, 6))
    detail = RandomTargets(rng, [-1] * (ACTION_DIM - ARM), [1] * (ACTION_DIM - ARM), hold=(3, 7), jump=0)
    substeps = steps_per_frame(model, fps)
    mujoco.mj_forward(model, data)

    def act() -> np.ndarray:
        action = np.clip(np.concatenate([arm.next(), _fingers(curl.next(), detail.next())]), -1, 1)
        data.ctrl[:] = middle + half * action
        mujoco.mj_step(model, data, substeps)
        return action

    images, actions = shoot_episode(studio, data, camera, frames, act)
    return Episode(images, actions, "move the hand and its fingers about", ACTIONS + camera.actions)


def _dress(model: mujoco.MjModel, rng: np.random.Generator, variety: float) -> None:
    """One colour for the skin, from a wide range of browns and pinks, and one for the sleeve."""
    own = rng.uniform(0.35, 1.0) * np.array([1.0, rng.uniform(0.6, 0.85), rng.uniform(0.4, 0.75)])
    skin = SKIN + variety * (own - SKIN)
    for geom in range(model.ngeom):
        body = model.body(model.geom_bodyid[geom]).name
        if body not in ("world", "table", "Object"):
            model.geom_rgba[geom, :3] = skin * rng.uniform(0.9, 1.0)
    model.geom("V_forearm").rgba[:3] = SLEEVE + variety * (rng.uniform(0.1, 0.95, 3) - SLEEVE)


# Actuators after the arm: wrist (2), three fingers of four joints, the little finger and the thumb of five.
_FINGERS = [slice(2, 6), slice(6, 10), slice(10, 14), slice(14, 19), slice(19, 24)]


def _fingers(curl: np.ndarray, detail: np.ndarray) -> np.ndarray:
    """Joints of one finger bend together, with some play of their own: [-1, 1] for wrist and fingers."""
    out = detail.copy()
    for finger, joints in enumerate(_FINGERS):
        out[joints] = 0.9 * curl[finger] + 0.3 * detail[joints]
    return out
