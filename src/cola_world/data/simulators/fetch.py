"""The Fetch arm over its table with smoothly random, large motions of the gripper."""

from functools import cache

import gymnasium as gym
import gymnasium_robotics
import numpy as np

from .scene import Episode, RandomTargets, Studio, View, relight, tint

ACTION_DIM = 4  # gripper velocity x, y, z and opening
TASK = "FetchPickAndPlace-v4"
LOW, HIGH = (1.14, 0.52, 0.44), (1.44, 0.98, 0.74)  # metres: the box over the table that the gripper stays in
VIEW = View(np.array([1.22, 0.75, 0.70]), 0.85, 150.0, -22.0)
STEP = 0.05  # metres of gripper motion that an action of 1 asks for in one control step


@cache
def _stage(size: int) -> tuple[gym.Env, Studio]:
    gym.register_envs(gymnasium_robotics)
    env = gym.make(TASK).unwrapped
    return env, Studio(env.model, size, detail=0.006)


def record(rng: np.random.Generator, frames: int, size: int, fps: int, variety: float) -> Episode:
    """One episode: the gripper chases targets that jump every few frames, opening and closing on the way."""
    env, studio = _stage(size)
    steps = max(1, round(1 / (fps * env.dt)))
    studio.reset_look()
    env.reset(seed=int(rng.integers(2**31)))
    tint(env.model.mat_rgba, rng, 0.35 * variety)
    tint(env.model.geom_rgba, rng, 0.25 * variety)
    relight(env.model, rng, variety)
    view = VIEW.jittered(rng, variety)
    targets = RandomTargets(rng, LOW, HIGH)
    grips = RandomTargets(rng, [-1], [1], hold=(2, 6))
    images = np.empty((frames, size, size, 3), np.uint8)
    actions = np.empty((frames, ACTION_DIM), np.float32)
    for i in range(frames):
        images[i] = studio.shoot(env.data, view)
        hand = env.data.site("robot0:grip").xpos
        actions[i, :3] = np.clip((targets.next() - hand) / (STEP * steps), -1, 1)
        actions[i, 3:] = np.sign(grips.next())
        for _ in range(steps):
            env.step(actions[i])
    return Episode(images, actions, "move the Fetch gripper about")
