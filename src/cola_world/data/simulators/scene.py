"""What every simulated corpus shares: an episode, a fast off-screen camera, smooth random signals and a seeded look."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import mujoco
import numpy as np

from cola_world.data.simulators import Filming

FIELD_OF_VIEW = 45.0  # degrees, MuJoCo's free camera
LOOK = ("geom_rgba", "mat_rgba", "light_diffuse", "light_ambient", "light_dir")


@dataclass
class View:
    """A free camera in MuJoCo's own terms: metres and degrees."""

    lookat: np.ndarray
    distance: float
    azimuth: float
    elevation: float

    def jittered(self, rng: np.random.Generator, variety: float) -> "View":
        """The same view from a slightly different place, as if every episode had its own tripod."""
        angle, shift = 8.0 * variety, 0.02 * variety
        return View(
            lookat=self.lookat + rng.uniform(-shift, shift, 3),
            distance=self.distance * (1 + variety * rng.uniform(-0.05, 0.08)),
            azimuth=self.azimuth + rng.uniform(-angle, angle),
            elevation=self.elevation + rng.uniform(-angle, angle) / 2,
        )


@lru_cache(maxsize=1)
def _gl_context() -> mujoco.GLContext:
    """One for the process: a software renderer takes a fifth of a second to warm a new one up, which every scene would pay."""
    context = mujoco.GLContext(16, 16)  # its own size does not matter: pictures are drawn into an off-screen buffer
    context.make_current()
    return context


class Studio:
    """A model with its picture: size × size pixels, and the untouched look, so that each episode starts from the same.

    `detail` in metres: meshes are drawn with vertices about this far apart; take a pixel or less.
    """

    def __init__(self, model: mujoco.MjModel, size: int, *, detail: float):
        make_fast(model)
        simplify_meshes(model, detail)
        model.vis.global_.offwidth = model.vis.global_.offheight = size
        self.model, self.size = model, size
        self._look = {name: getattr(model, name).copy() for name in LOOK}
        _gl_context()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._area = mujoco.MjrRect(0, 0, size, size)
        self._options = mujoco.MjvOption()
        self._options.sitegroup[:] = 0  # markers of goals and sensors

    def reset_look(self) -> None:
        for name, value in self._look.items():
            getattr(self.model, name)[:] = value

    def shoot(self, data: mujoco.MjData, view: View) -> np.ndarray:
        """Renders uint8 [H, W, 3]."""
        camera = mujoco.MjvCamera()
        camera.type = mujoco.mjtCamera.mjCAMERA_FREE
        camera.lookat[:] = view.lookat
        camera.distance, camera.azimuth, camera.elevation = view.distance, view.azimuth, view.elevation
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self.model, data, self._options, None, camera, everything, self._scene)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        mujoco.mjr_render(self._area, self._scene, self._context)
        image = np.empty((self.size, self.size, 3), np.uint8)
        mujoco.mjr_readPixels(image, None, self._area, self._context)
        return image[::-1]  # OpenGL counts rows from below

    def close(self) -> None:
        self._context.free()


def make_fast(model: mujoco.MjModel) -> None:
    """Drops shadows, multi-sampling and reflections: 15 times faster on a software renderer. Only before the first picture."""
    model.vis.quality.shadowsize = 0
    model.vis.quality.offsamples = 0
    model.light_castshadow[:] = 0
    model.mat_reflectance[:] = 0


def simplify_meshes(model: mujoco.MjModel, cell: float) -> None:
    """Merges the vertices of each mesh within a cell of a grid: robots' meshes have far more faces than 64 pixels show.

    Only the list of faces is rewritten. Collisions go by vertices and their hulls, so the physics stays the same.
    """
    for mesh in range(model.nmesh):
        first, count = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
        start = model.mesh_vertadr[mesh]
        vertices = model.mesh_vert[start : start + model.mesh_vertnum[mesh]]
        _, chosen, cells = np.unique(np.floor(vertices / cell), axis=0, return_index=True, return_inverse=True)
        faces = chosen[cells.reshape(-1)[model.mesh_face[first : first + count]]]
        whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])
        kept = np.flatnonzero(whole)
        kept = kept[np.unique(np.sort(faces[kept], axis=1), axis=0, return_index=True)[1]] if len(kept) else kept
        model.mesh_face[first : first + len(kept)] = faces[kept]
        model.mesh_facenormal[first : first + len(kept)] = model.mesh_facenormal[first : first + count][kept]
        model.mesh_facenum[mesh] = len(kept)


def tint(colours: np.ndarray, rng: np.random.Generator, strength: float) -> None:
    """Multiplies each row of RGBA `colours` in place by its own random colour within 1 ± strength."""
    factor = rng.uniform(1 - strength, 1 + strength, (len(colours), 3))
    colours[:, :3] = np.clip(colours[:, :3] * factor, 0.05, 1.0)


def relight(model: mujoco.MjModel, rng: np.random.Generator, variety: float) -> None:
    """A different lamp for every episode: brightness, warmth and direction."""
    warmth = np.array([1.0, 1.0, 1.0]) + variety * rng.uniform(-0.12, 0.12) * np.array([1.0, 0.0, -1.0])
    brightness = 1 + variety * rng.uniform(-0.2, 0.25)
    model.light_diffuse[:] = np.clip(model.light_diffuse * brightness * warmth, 0, 1)
    model.light_dir[:] = model.light_dir + variety * rng.uniform(-0.3, 0.3, model.light_dir.shape)


def turn_into_velocity_servos(model: mujoco.MjModel, count: int, gain: float, speed: np.ndarray | float) -> None:
    """Lets the first `count` actuators, whatever they were, hold the joint velocity that they are given, within ± `speed` (rad/s)."""
    model.opt.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST  # stable with light links, as the explicit one is not
    model.actuator_gainprm[:count, 0], model.actuator_biastype[:count] = gain, mujoco.mjtBias.mjBIAS_AFFINE
    model.actuator_biasprm[:count, :3] = [0.0, 0.0, -gain]
    model.actuator_ctrlrange[:count] = np.outer(speed * np.ones(count), [-1, 1])


class Camera:
    """The view of one episode. Where it is carried by a head, it pans and tilts towards points that jump every few frames."""

    def __init__(self, rng: np.random.Generator, view: View, filming: Filming):
        self.view = view.jittered(rng, filming.variety)
        self.speed, self.home, self.offset = filming.speed, self.view.lookat.copy(), np.zeros(2)
        box = [filming.reach] * 2
        self.targets = RandomTargets(rng, np.negative(box), box, hold=(1, 4)) if filming.reach else None
        self.actions = ("pan", "tilt") if filming.reach else ()  # names of what `move` returns

    def move(self) -> np.ndarray:
        """Turns for one frame -> what was done: pan and tilt in [-1, 1] of `speed`, or nothing on a tripod."""
        if self.targets is None:
            return np.empty(0)
        step = np.clip(self.targets.next() - self.offset, -self.speed, self.speed)
        self.offset += step
        azimuth, elevation = np.radians([self.view.azimuth, self.view.elevation])
        right = np.array([np.sin(azimuth), -np.cos(azimuth), 0.0])
        up = np.array([-np.cos(azimuth) * np.sin(elevation), -np.sin(azimuth) * np.sin(elevation), np.cos(elevation)])
        width = 2 * np.tan(np.radians(FIELD_OF_VIEW / 2)) * self.view.distance
        self.view.lookat = self.home + width * (self.offset[0] * right + self.offset[1] * up)
        return step / self.speed


def shoot_episode(
    studio: Studio, data: mujoco.MjData, camera: Camera, frames: int, act: Callable[[], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 [F, H, W, 3] and actions float32 [F, A], the camera's last.

    `act` decides on an action, simulates until the next picture, and returns what was done, in [-1, 1].
    """
    images = np.empty((frames, studio.size, studio.size, 3), np.uint8)
    actions = []
    for i in range(frames):
        images[i] = studio.shoot(data, camera.view)
        actions.append(np.append(act(), camera.move()))
    return images, np.array(actions, np.float32)


def steps_per_frame(model: mujoco.MjModel, fps: int) -> int:
    """Steps of the simulation between two pictures."""
    return max(1, round(1 / (fps * model.opt.timestep)))


class RandomTargets:
    """Points in [low, high] that change at random moments, so that the next motion cannot be guessed from one frame.

    A new target comes every `hold` frames (drawn uniformly) and is at least `jump` of the box away from the last one.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        low: np.ndarray | list[float],
        high: np.ndarray | list[float],
        hold: tuple[int, int] = (3, 7),
        jump: float = 0.35,
    ):
        self.rng, self.hold, self.jump = rng, hold, jump
        self.low, self.high = np.asarray(low, float), np.asarray(high, float)
        self.target = self.rng.uniform(self.low, self.high)
        self.left = 0

    def next(self) -> np.ndarray:
        if self.left <= 0:
            self.left = int(self.rng.integers(self.hold[0], self.hold[1] + 1))
            self.target = self._far_point()
        self.left -= 1
        return self.target

    def _far_point(self) -> np.ndarray:
        span = np.maximum(self.high - self.low, 1e-9)
        for _ in range(20):
            point = self.rng.uniform(self.low, self.high)
            if np.sqrt(np.mean(((point - self.target) / span) ** 2)) >= self.jump:
                break
        return point


def installed_file(package: str, *parts: str) -> str:
    """Path of a file that ships inside an installed package, without importing it."""
    from importlib.util import find_spec

    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"simulate: the package {package!r} is not installed; install the requirements first (make setup)")
    return str(Path(next(iter(spec.submodule_search_locations))).joinpath(*parts))
