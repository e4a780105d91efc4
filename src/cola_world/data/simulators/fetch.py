"""The Fetch arm over its table with smoothly random, large motions of the gripper."""

from functools import cache

import gymnasium as gym
import gymnasium_robotics
import numpy as np

from cola_world.data.simulators import Episode, Filming
from cola_world.data.simulators.scene import Camera, RandomTargets, Studio, View, relight, shoot_episode, tint

ACTIONS = ("x", "y", "z", "gripper")  # velocity of the hand, opening of the gripper
TASK = "FetchPickAndPlace-v4"
LOW, HIGH = (1.14, 0.52, 0.44), (1.44, 0.98, 0.74)  # metres: the box over the table that the gripper stays in
VIEW = View(np.array([1.22, 0.75, 0.70]), 0.85, 150.0, -22.0)
STEP = 0.05  # metres of gripper motion that an action of 1 asks for in one control step


@cache
def _stage(size: int) -> tuple[gym.Env, Studio]:
    gym.register_envs(gymnasium_robotics)
    env = gym.make(TASK).unwrapped
    return env, Studio(env.model, size, detail=0.006)


def record(rng: np.random.Generator, frames: int, size: int, fps: int, filming: Filming) -> Episode:
    """One episode: the gripper chases targets that jump every few frames, opening and closing on the way."""
    env, studio = _stage(size)
    steps = max(1, round(1 / (fps * env.dt)))
    studio.reset_look()
    env.reset(seed=int(rng.integers(2**31)))
    tint(env.model.mat_rgba, rng, 0.35 * filming.variety)
    tint(env.model.geom_rgba, rng, 0.25 * filming.variety)
    relight(env.model, rng, filming.variety)
    camera = Camera(rng, VIEW, filming)
    targets = RandomTargets(rng, LOW, HIGH)
    grips = RandomTargets(rng, [-1], [1], hold=(2, 6))

    def act() -> np.ndarray:
        hand = env.data.site("robot0:grip").xpos
        reach = np.clip((targets.next() - hand) / (STEP * steps), -1, 1)
        action = np.append(reach, np.sign(grips.next()))
        for _ in range(steps):
            env.step(action)
        return action

    images, actions = shoot_episode(studio, env.data, camera, frames, act)
    return Episode(images, actions, "move the Fetch gripper about", ACTIONS + camera.actions)
