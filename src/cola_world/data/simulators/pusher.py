"""Gymnasium's pusher: a seven-joint arm that sweeps over a table and pushes what stands there."""

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
    turn_into_velocity_servos,
)

ACTIONS = ("shoulder_pan", "shoulder_lift", "upper_arm_roll", "elbow", "forearm_roll", "wrist", "wrist_roll")  # joint velocities
SPEED = np.array([1.6, 1.6, 2.0, 2.0, 3.0, 3.0, 3.0])  # radians a second that an action of 1 asks for
LOW = np.array([-0.7, -0.1, -0.6, -1.5, -1.5, -1.0, -1.5])  # radians: postures with the arm over its table
HIGH = np.array([1.1, 0.6, 0.9, -0.1, 1.5, 0.0, 1.5])
TABLE = np.array([0.55, -0.15])  # metres: where object and goal may stand, by up to REACH to each side
REACH = 0.3
VIEW = View(np.array([0.3, -0.3, -0.1]), 1.5, 115.0, -40.0)


@cache
def _stage(size: int) -> tuple[Studio, mujoco.MjData]:
    model = mujoco.MjModel.from_xml_path(installed_file("gymnasium", "envs", "mujoco", "assets", "pusher_v5.xml"))
    turn_into_velocity_servos(model, model.nu, gain=20.0, speed=SPEED)
    model.geom("table").size[:2] = 4.0  # to the edges of the picture
    return Studio(model, size, detail=0.01), mujoco.MjData(model)


def record(rng: np.random.Generator, frames: int, size: int, fps: int, filming: Filming) -> Episode:
    """One episode: the arm goes from posture to posture, which change every few frames, through whatever is in its way."""
    studio, data = _stage(size)
    model, joints = studio.model, len(ACTIONS)
    studio.reset_look()
    mujoco.mj_resetData(model, data)
    data.qpos[:joints] = rng.uniform(LOW, HIGH)
    for body, joint in (("object", "obj_slide"), ("goal", "goal_slide")):
        for axis, place in zip("xy", TABLE + rng.uniform(-REACH, REACH, 2), strict=True):
            data.joint(joint + axis).qpos = place - model.body(body).pos["xy".index(axis)]
    model.geom_rgba[:, :3] = (1 - filming.variety) * model.geom_rgba[:, :3] + filming.variety * rng.uniform(0.1, 0.95, (model.ngeom, 3))
    relight(model, rng, filming.variety)
    camera = Camera(rng, VIEW, filming)
    postures = RandomTargets(rng, LOW, HIGH)
    substeps = steps_per_frame(model, fps)
    mujoco.mj_forward(model, data)

    def act() -> np.ndarray:
        action = np.clip((postures.next() - data.qpos[:joints]) * fps / SPEED, -1, 1)
        data.ctrl[:] = SPEED * action
        mujoco.mj_step(model, data, substeps)
        return action

    images, actions = shoot_episode(studio, data, camera, frames, act)
    return Episode(images, actions, "push what stands on the table", ACTIONS + camera.actions)
