"""Procedural scenes: large coloured bodies that fall, roll and collide under a moving camera. Stands in for general video."""

import mujoco
import numpy as np

from cola_world.data.simulators import Episode, Filming
from cola_world.data.simulators.scene import RandomTargets, Studio, View, steps_per_frame

SHAPES = ("sphere", "box", "capsule", "cylinder", "ellipsoid")
ROOM = 0.75  # metres from the middle to invisible walls that keep the bodies in the picture
WALLS = {  # place -> its x and y axes; their product points inwards
    f"{ROOM} 0 0": "0 -1 0 0 0 1",
    f"-{ROOM} 0 0": "0 1 0 0 0 1",
    f"0 {ROOM} 0": "1 0 0 0 0 1",
    f"0 -{ROOM} 0": "-1 0 0 0 0 1",
    "0 0 1.3": "1 0 0 0 -1 0",
}
ACTIONS = ("azimuth", "elevation", "distance")  # velocity of the camera
ACTION_DIM = len(ACTIONS)


def record(rng: np.random.Generator, frames: int, size: int, fps: int, filming: Filming) -> Episode:
    """One scene with its own bodies, colours and camera path. Kicks every few frames keep the bodies from coming to rest."""
    model = mujoco.MjModel.from_xml_string(_scene(rng))
    studio, data = Studio(model, size, detail=0.01), mujoco.MjData(model)
    try:
        images, actions = _film(studio, data, rng, frames, fps)
    finally:
        studio.close()
    return Episode(images, actions, "bodies fall, roll and collide", ACTIONS)


def _film(studio: Studio, data: mujoco.MjData, rng: np.random.Generator, frames: int, fps: int) -> tuple[np.ndarray, np.ndarray]:
    model = studio.model
    substeps = steps_per_frame(model, fps)
    kicks = RandomTargets(rng, [-1] * 3, [1] * 3, hold=(3, 8))
    camera = RandomTargets(rng, [-1] * ACTION_DIM, [1] * ACTION_DIM, hold=(4, 10))
    view = View(np.array([0, 0, 0.3]), rng.uniform(1.8, 2.3), rng.uniform(0, 360), rng.uniform(-45, -25))
    images = np.empty((frames, studio.size, studio.size, 3), np.uint8)
    actions = np.empty((frames, ACTION_DIM), np.float32)
    velocity = np.zeros(ACTION_DIM)
    _settle(model, data, rng)
    for i in range(frames):
        images[i] = studio.shoot(data, view)
        fresh = kicks.left <= 0
        direction = kicks.next()
        if fresh:
            _kick(model, data, rng, direction)
        velocity += 0.5 * (camera.next() - velocity)
        actions[i] = velocity
        mujoco.mj_step(model, data, substeps)
        _move(view, velocity)
    return images, actions


def _settle(model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
    """Places far enough from each other, in the air above the floor, with random speeds."""
    corners = rng.permutation([(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)])
    for joint in range(model.njnt):
        q, v = model.jnt_qposadr[joint], model.jnt_dofadr[joint]
        data.qpos[q : q + 3] = [*(0.45 * corners[joint]), rng.uniform(0.35, 0.8)]
        quaternion = rng.normal(size=4)
        data.qpos[q + 3 : q + 7] = quaternion / np.linalg.norm(quaternion)
        data.qvel[v : v + 3] = rng.uniform(-1, 1, 3)
    mujoco.mj_forward(model, data)


def _kick(model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, direction: np.ndarray) -> None:
    """About two thirds of the bodies are thrown: partly to a common side, partly each its own way."""
    for joint in range(model.njnt):
        if rng.random() < 0.35:
            continue
        q, v = model.jnt_qposadr[joint], model.jnt_dofadr[joint]
        home = -0.8 * data.qpos[q : q + 2]  # pulled back to the middle, so that bodies stay in the picture
        throw = 1.2 * direction[:2] + rng.uniform(-0.6, 0.6, 2) + home
        data.qvel[v : v + 3] = [*throw, rng.uniform(0.3, 1.8)]
        data.qvel[v + 3 : v + 6] = rng.uniform(-6, 6, 3)


def _move(view: View, velocity: np.ndarray) -> None:
    view.azimuth += 5.0 * velocity[0]
    view.elevation = float(np.clip(view.elevation + 2.0 * velocity[1], -60, -20))
    view.distance = float(np.clip(view.distance * (1 + 0.04 * velocity[2]), 1.6, 2.6))


def _scene(rng: np.random.Generator) -> str:
    floor1, floor2, sky1, sky2 = (_colour(rng, 0.1, 0.95) for _ in range(4))
    pattern = rng.choice(["checker", "gradient", "flat"])
    repeat = rng.integers(2, 6)
    bodies = "".join(_body(rng) for _ in range(rng.integers(3, 6)))
    walls = "".join(
        f'<geom type="plane" size="2 2 .1" pos="{place}" xyaxes="{axes}" rgba="0 0 0 0"/>' for place, axes in WALLS.items()
    )
    return f"""
    <mujoco><option timestep="0.005"/>
      <visual><headlight ambient=".4 .4 .4" diffuse=".3 .3 .3"/><global fovy="45"/></visual>
      <asset>
        <texture type="skybox" builtin="gradient" rgb1="{sky1}" rgb2="{sky2}" width="64" height="64"/>
        <texture name="floor" type="2d" builtin="{pattern}" rgb1="{floor1}" rgb2="{floor2}" width="64" height="64"/>
        <material name="floor" texture="floor" texrepeat="{repeat} {repeat}"/>
      </asset>
      <worldbody>
        <light directional="true" dir="{rng.uniform(-1, 1):.3f} {rng.uniform(-1, 1):.3f} -1" diffuse=".6 .6 .6"/>
        <geom type="plane" size="4 4 .1" material="floor"/>{walls}{bodies}
      </worldbody>
    </mujoco>"""


def _body(rng: np.random.Generator) -> str:
    shape, (a, b, c) = rng.choice(SHAPES), rng.uniform(0.16, 0.30, 3)
    return (
        f'<body><freejoint/><geom type="{shape}" size="{a:.3f} {b:.3f} {c:.3f}" density="200" '
        f'rgba="{_colour(rng, 0.05, 1.0)} 1" solref=".01 .4" friction=".6 .01 .01"/></body>'
    )


def _colour(rng: np.random.Generator, low: float, high: float) -> str:
    return " ".join(f"{value:.3f}" for value in rng.uniform(low, high, 3))
