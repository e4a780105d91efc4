"""A robot of capsules with two seven-joint arms, two grippers and a waist at a table, seen from its own head.

Stands in for AgiBot, whose actions are as many and of the same kinds.
"""

from collections.abc import Iterator
from functools import cache

import mujoco
import numpy as np

from cola_world.data.simulators import Episode, Filming
from cola_world.data.simulators.scene import Camera, RandomTargets, Studio, View, relight, shoot_episode, steps_per_frame

SIDES = ("left", "right")
JOINTS = {  # of an arm, from the shoulder on: axis, and the range in radians that postures are drawn from; the right arm mirrors it
    "shoulder_pitch": ("0 1 0", (-0.6, 0.1)),
    "shoulder_roll": ("1 0 0", (-0.25, 0.25)),
    "upper_arm_turn": ("0 0 1", (-0.7, 0.3)),
    "elbow": ("0 1 0", (-1.3, -0.6)),
    "forearm_turn": ("0 0 1", (-0.9, 0.9)),
    "wrist_pitch": ("0 1 0", (-0.6, 0.6)),
    "wrist_roll": ("1 0 0", (-0.6, 0.6)),
}
WAIST = {"waist_turn": ("hinge", "0 0 1", (-0.25, 0.25)), "waist_lift": ("slide", "0 0 1", (-0.05, 0.05))}
# Velocities of waist and arms, and how far each gripper is to be open.
ACTIONS = (*WAIST, *(f"{side}_{joint}" for side in SIDES for joint in JOINTS), *(f"{side}_gripper" for side in SIDES))
MOVING = len(ACTIONS) - len(SIDES)  # actions that are velocities
SPEED = np.array([0.8, 0.2] + 2 * [1.5, 1.5, 1.5, 2.0, 2.5, 2.5, 2.5])  # radians or metres a second that an action of 1 asks for
OPEN = 0.035  # metres that a finger goes aside
VIEW = View(np.array([0.40, 0.0, -0.10]), 1.05, 0.0, -55.0)


@cache
def _stage(size: int) -> tuple[Studio, mujoco.MjData, np.ndarray]:
    model = mujoco.MjModel.from_xml_string(_scene())
    # The arms' angles among all: fingers and objects have theirs in between.
    angles = np.array([model.joint(name).qposadr[0] for name in ACTIONS[:MOVING]])
    return Studio(model, size, detail=0.01), mujoco.MjData(model), angles


def record(rng: np.random.Generator, frames: int, size: int, fps: int, filming: Filming) -> Episode:
    """One episode: waist and each arm go from posture to posture, which change every few frames, while grippers open and close."""
    studio, data, angles = _stage(size)
    model = studio.model
    studio.reset_look()
    mujoco.mj_resetData(model, data)
    _dress(model, rng, filming.variety)
    _lay_table(data, rng)
    relight(model, rng, filming.variety)
    camera = Camera(rng, VIEW, filming)
    low, high = np.array([*(row[-1] for row in WAIST.values()), *2 * [span for _, span in JOINTS.values()]]).T
    postures = [RandomTargets(rng, low[part], high[part]) for part in (slice(0, 2), slice(2, 9), slice(9, 16))]
    grips = [RandomTargets(rng, [-1], [1], hold=(2, 6)) for _ in SIDES]
    substeps = steps_per_frame(model, fps)
    data.qpos[angles] = (low + high) / 2
    mujoco.mj_forward(model, data)

    def act() -> np.ndarray:
        wanted = np.concatenate([posture.next() for posture in postures])
        velocity = np.clip((wanted - data.qpos[angles]) * fps / SPEED, -1, 1)
        grip = np.sign(np.concatenate([grip.next() for grip in grips]))
        data.ctrl[:] = np.concatenate([SPEED * velocity, np.repeat(OPEN * (grip + 1) / 2, 2)])
        mujoco.mj_step(model, data, substeps)
        return np.concatenate([velocity, grip])

    images, actions = shoot_episode(studio, data, camera, frames, act)
    return Episode(images, actions, "move two arms about over a table", ACTIONS + camera.actions)


def _dress(model: mujoco.MjModel, rng: np.random.Generator, variety: float) -> None:
    """A colour for the floor, one for the table, one for the robot's body and one for its hands, and one for each object."""
    for prefix in ("floor", "table", "body", "hand", "object0", "object1", "object2"):
        colour = rng.uniform(0.05, 0.95, 3)
        for geom in range(model.ngeom):
            if model.geom(geom).name.startswith(prefix):
                model.geom_rgba[geom, :3] += variety * (colour - model.geom_rgba[geom, :3])


def _lay_table(data: mujoco.MjData, rng: np.random.Generator) -> None:
    """Objects anywhere within the arms' reach, one in each third of the table."""
    for number in range(3):
        place = [rng.uniform(0.35, 0.6), rng.uniform(-0.1, 0.1) + 0.24 * (number - 1)]
        data.joint(f"object{number}").qpos[:3] = [*place, -0.09]


def _scene() -> str:
    waist = "".join(f'<joint name="{name}" type="{kind}" axis="{axis}"/>' for name, (kind, axis, _) in WAIST.items())
    # The waist carries all the rest.
    servos = "".join(f'<velocity joint="{name}" kv="{2000 if name in WAIST else 30}"/>' for name in ACTIONS[:MOVING])
    fingers = "".join(f'<position joint="{side}_{finger}" kp="60"/>' for side in SIDES for finger in ("near", "far"))
    shapes = ("box", "cylinder", "sphere")
    objects = "".join(
        f'<body><freejoint name="object{n}"/><geom name="object{n}" type="{shape}" size=".045 .05 .045" density="150" '
        f'contype="1" conaffinity="3" friction="1 .01 .01"/></body>' for n, shape in enumerate(shapes)
    )
    return f"""
    <mujoco><compiler angle="radian"/><option timestep="0.005" integrator="implicitfast"/>
      <visual><headlight ambient=".4 .4 .4" diffuse=".3 .3 .3"/><global fovy="45"/></visual>
      <default>
        <joint damping="1" armature=".05"/>
        <geom contype="2" conaffinity="0" rgba=".8 .8 .85 1"/>
      </default>
      <worldbody>
        <light directional="true" dir=".3 .2 -1" diffuse=".6 .6 .6"/>
        <geom name="floor" type="plane" size="6 6 .1" pos="0 0 -.9" rgba=".5 .5 .45 1"/>
        <geom name="table" type="box" size=".35 .6 .02" pos=".55 0 -.16" rgba=".6 .45 .3 1" contype="1" conaffinity="1"/>
        <body gravcomp="1">{waist}
          <geom name="body" type="capsule" size=".1" fromto="-.12 0 -.5 -.12 0 .05"/>{_arm("left", 1)}{_arm("right", -1)}
        </body>{objects}
      </worldbody>
      <actuator>{servos}{fingers}</actuator>
    </mujoco>"""


def _arm(side: str, sign: int) -> str:
    """Three joints at the shoulder, one at the elbow, three at the wrist; `sign` is 1 on the left."""
    shoulder, elbow, wrist = "".join(_joints(side, sign, 0, 3)), "".join(_joints(side, sign, 3, 4)), "".join(_joints(side, sign, 4, 7))
    fingers = "".join(
        f'<body pos="0 0 -.09" gravcomp="1"><joint name="{side}_{finger}" type="slide" axis="0 {way} 0" range="0 {OPEN}" limited="true"/>'
        f'<geom name="hand_{side}_{finger}" type="box" size=".015 .008 .04" pos="0 {0.01 * way} -.03"/></body>'
        for finger, way in (("near", 1), ("far", -1))
    )
    return f"""
    <body pos="0 {0.22 * sign} .2" gravcomp="1">{shoulder}
      <geom name="body_{side}_upper" type="capsule" size=".05" fromto="0 0 0 0 0 -.25"/>
      <body pos="0 0 -.25" gravcomp="1">{elbow}
        <geom name="body_{side}_fore" type="capsule" size=".04" fromto="0 0 0 0 0 -.25"/>
        <body pos="0 0 -.27" gravcomp="1">{wrist}
          <geom name="hand_{side}" type="box" size=".03 .055 .03" pos="0 0 -.05"/>{fingers}
        </body>
      </body>
    </body>"""


def _joints(side: str, sign: int, first: int, last: int) -> Iterator[str]:
    """Joints of the arm from `first` to before `last`; those that turn sideways are mirrored on the right."""
    for name, (axis, _) in list(JOINTS.items())[first:last]:
        mirrored = axis if axis == "0 1 0" else axis.replace("1", str(sign))
        yield f'<joint name="{side}_{name}" axis="{mirrored}"/>'
