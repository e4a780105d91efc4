"""Gymnasium-Robotics' kitchen with a Panda, the arm of LIBERO, and LIBERO's kind of actions.

Stands in for LIBERO, out of distribution: no training corpus has this arm or this room.
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
    tint,
    turn_into_velocity_servos,
)

ACTIONS = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")  # velocity of the hand and of its turns, opening of the gripper
STEP = np.array([0.06] * 3 + [0.3] * 3)  # metres and radians of motion that an action of 1 asks for between two frames
LOW, HIGH = (-0.25, 0.38, 1.80), (0.25, 0.65, 2.20)  # metres: the box over the stove that the hand stays in
TURN = 0.5  # radians that the hand is turned by, at most, from pointing down
HOME = np.array([0.0, -0.3, 0.0, -2.3, 0.0, 0.45, 0.785])  # radians: the hand over the stove, pointing down
SPEED = 2.5  # radians a second that a joint turns at most
OPEN = 0.04  # metres that a finger goes aside
VIEW = View(np.array([0.02, 0.40, 1.97]), 1.35, 65.0, -30.0)
CORRECTIONS = 4  # of the arm's course between two frames
DAMPING = 0.05  # of the inverse kinematics, so that a stretched arm is not torn about


@cache
def _stage(size: int) -> tuple[Studio, mujoco.MjData]:
    path = installed_file("gymnasium_robotics", "envs", "assets", "kitchen_franka", "kitchen_assets", "kitchen_env_model.xml")
    model = mujoco.MjModel.from_xml_path(path)
    turn_into_velocity_servos(model, len(HOME), gain=200.0, speed=SPEED)
    model.actuator_forcelimited[: len(HOME)] = False
    # Coarse steps, rough cylinders, one lamp and plain materials: three times as fast, and at this size one sees no difference.
    model.opt.timestep = 0.004
    model.vis.quality.numslices, model.vis.quality.numstacks = 10, 6
    model.light_active[1:] = 0
    model.mat_texid[:] = -1
    return Studio(model, size, detail=0.02), mujoco.MjData(model)


def record(rng: np.random.Generator, frames: int, size: int, fps: int, filming: Filming) -> Episode:
    """One episode: the hand chases places and turns that change every few frames, opening and closing on the way."""
    studio, data = _stage(size)
    model = studio.model
    studio.reset_look()
    mujoco.mj_resetDataKeyframe(model, data, 0)
    tint(model.mat_rgba, rng, 0.35 * filming.variety)
    tint(model.geom_rgba, rng, 0.3 * filming.variety)
    relight(model, rng, filming.variety)
    data.qpos[: len(HOME)] = HOME
    mujoco.mj_forward(model, data)
    camera = Camera(rng, VIEW, filming)
    places, grips = RandomTargets(rng, LOW, HIGH), RandomTargets(rng, [-1], [1], hold=(2, 6))
    turns = RandomTargets(rng, [-TURN] * 3, [TURN] * 3)
    hand = Hand(model, data)

    def act() -> np.ndarray:
        wanted = np.concatenate([places.next() - hand.place(), turns.next() - hand.turn()])
        action = np.append(np.clip(wanted / STEP, -1, 1), np.sign(grips.next()))
        data.ctrl[len(HOME) :] = OPEN * (action[-1] + 1) / 2
        hand.go(STEP * action[:-1], 1 / fps)
        return action

    images, actions = shoot_episode(studio, data, camera, frames, act)
    return Episode(images, actions, "move the Panda about in its kitchen", ACTIONS + camera.actions)


class Hand:
    """The Panda's hand, led by differential inverse kinematics; turns are rotation vectors [3] since it was made."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData):
        self.model, self.data, self.site = model, data, model.site("end_effector").id
        self.away = np.empty(4)
        mujoco.mju_negQuat(self.away, self.quaternion())

    def place(self) -> np.ndarray:
        return self.data.site_xpos[self.site]

    def quaternion(self) -> np.ndarray:
        quaternion = np.empty(4)
        mujoco.mju_mat2Quat(quaternion, self.data.site_xmat[self.site])
        return quaternion

    def turn(self) -> np.ndarray:
        turn, since = np.empty(3), np.empty(4)
        mujoco.mju_mulQuat(since, self.quaternion(), self.away)
        mujoco.mju_quat2Vel(turn, since, 1.0)
        return turn

    def go(self, motion: np.ndarray, seconds: float) -> None:
        """Simulate `seconds` in which the hand is to move by `motion` [6], metres and radians."""
        joints = len(HOME)
        jacobian = np.empty((6, self.model.nv))
        for _ in range(CORRECTIONS):
            mujoco.mj_jacSite(self.model, self.data, jacobian[:3], jacobian[3:], self.site)
            arm = jacobian[:, :joints]
            damped = arm @ arm.T + DAMPING**2 * np.eye(6)
            self.data.ctrl[:joints] = np.clip(arm.T @ np.linalg.solve(damped, motion / seconds), -SPEED, SPEED)
            self.data.qfrc_applied[:joints] = self.data.qfrc_bias[:joints]  # carries the arm's weight, as its own controller does
            mujoco.mj_step(self.model, self.data, round(seconds / CORRECTIONS / self.model.opt.timestep))
