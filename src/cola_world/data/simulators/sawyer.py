"""Meta-World's Sawyer on several tasks: scripted policies with noise, and smoothly random motions."""

from dataclasses import dataclass
from functools import cache

import metaworld
import mujoco
import numpy as np
from metaworld.policies import ENV_POLICY_MAP

from cola_world.data.simulators import Episode, Filming
from cola_world.data.simulators.scene import Camera, RandomTargets, Studio, View, relight, shoot_episode, tint

ACTIONS = ("x", "y", "z", "gripper")  # velocity of the hand, effort of the gripper
LOW, HIGH = (-0.28, 0.42, 0.10), (0.28, 0.78, 0.38)  # metres: the box over the table that the hand stays in
STEP = 0.01  # metres of hand motion that an action of 1 asks for in one control step
SCRIPTED = 0.3  # share of the episodes that follow the task's own policy


@dataclass(frozen=True)
class Scene:
    """What a laboratory with this arm does, and from where it is filmed."""

    tasks: tuple[str, ...]
    view: View


FRONT = Scene(
    ("drawer-open-v3", "door-open-v3", "button-press-topdown-v3", "pick-place-v3", "sweep-into-v3", "faucet-open-v3"),
    View(np.array([0.0, 0.60, 0.30]), 0.8, 250.0, -22.0),
)


@cache
def _stage(task: str, size: int):
    env = metaworld.ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{task}-goal-observable"](seed=0)
    return env, Studio(env.model, size, detail=0.006), ENV_POLICY_MAP[task]()


def record(rng: np.random.Generator, frames: int, size: int, fps: int, filming: Filming) -> Episode:
    return film(FRONT, rng, frames, size, fps, filming)


def film(scene: Scene, rng: np.random.Generator, frames: int, size: int, fps: int, filming: Filming) -> Episode:
    """One episode of one of the scene's tasks."""
    task = scene.tasks[int(rng.integers(len(scene.tasks)))]
    env, studio, policy = _stage(task, size)
    steps = max(1, round(1 / (fps * env.dt)))
    env.seed(int(rng.integers(2**31)))
    studio.reset_look()
    observation, _ = env.reset()
    tint(env.model.mat_rgba, rng, 0.35 * filming.variety)
    tint(env.model.geom_rgba, rng, 0.3 * filming.variety)
    relight(env.model, rng, filming.variety)
    camera = Camera(rng, scene.view, filming)
    scripted = rng.random() < SCRIPTED
    targets = RandomTargets(rng, LOW, HIGH)
    grips = RandomTargets(rng, [-1], [1], hold=(2, 6))

    def act() -> np.ndarray:
        nonlocal observation
        hand = env.get_endeff_pos()
        if scripted:
            action = np.clip(policy.get_action(observation) + rng.normal(0, 0.3, len(ACTIONS)), -1, 1)
        else:
            reach = np.clip((targets.next() - hand) / (STEP * steps), -1, 1)
            action = np.append(reach, np.sign(grips.next()))
        for _ in range(steps):
            observation = _step(env, action, observe=scripted)
        return action

    images, actions = shoot_episode(studio, env.data, camera, frames, act)
    return Episode(images, actions, task.removesuffix("-v3").replace("-", " "), ACTIONS + camera.actions)


def _step(env, action: np.ndarray, observe: bool) -> np.ndarray | None:
    """One control step of the benchmark, without its reward and its step limit."""
    env.set_xyz_action(action[:3])
    env.do_simulation([action[3], -action[3]], n_frames=env.frame_skip)
    if not observe:
        return None
    mujoco.mj_forward(env.model, env.data)
    return env._get_obs()
