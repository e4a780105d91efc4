"""Simulate a corpus over several processes. The result does not depend on their number, and an interrupted call
resumes.

Each finished episode is a file in a scratch folder named after everything its content depends on. The data set is put
together in order once all are there.
"""

import contextlib
import hashlib
import itertools
import logging
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from cola_world.data import simulators
from cola_world.data.lerobot_writer import write_dataset
from cola_world.data.simulators import Episode
from cola_world.models.config import Config
from cola_world.running.files import fingerprint, renamed, scratch
from cola_world.running.jobs import Call, reporter, run_jobs

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
PACKAGES = ("mujoco", "metaworld", "gymnasium", "gymnasium-robotics", "numpy")  # whose version may change a picture


class Simulation(Config):
    """How much stand-in video to render: `episodes` x `frames` pictures of size x size pixels, `fps` per second."""

    episodes: int = Field(ge=2)
    frames: int = Field(ge=8)
    size: int = Field(ge=16, multiple_of=2)  # even, because the h264 file is yuv420p
    fps: int = Field(10, ge=1)
    # not in paper: because its data cannot be had at small scales, stand-ins are rendered; how much their colours,
    # light and camera differ between episodes is a parameter, and so is whether the camera looks about as one on a
    # head does. The general corpus always varies and moves in full.
    variety: float = Field(1.0, ge=0, le=1, description="how much colours, light and camera differ between episodes")
    camera_reach: float = Field(0.0, ge=0, le=1, description="how far a camera looks aside, in widths of the picture")
    camera_speed: float = Field(0.13, gt=0, le=1, description="how far it turns between two frames, in the same unit")
    seed: int = Field(0, ge=0)


class SimulationPlan(Config):
    """One corpus to render. With `hide_actions` the file has no action column at all, as human video has none."""

    corpus: Name
    environment: Name
    simulation: Simulation
    hide_actions: bool = False
    workers: int = Field(2, ge=1, description="does not change the result")


def simulate(plan: SimulationPlan, out: str | Path, kept: Path | None = None) -> None:
    """Render the corpus into the LeRobot data set `out`, which is replaced. Finished episodes are `kept` until then.

    Raises ValueError for an unknown environment, or if no off-screen renderer works.
    """
    simulators.check(plan.environment)
    parts = (kept or scratch() / "simulate") / f"{plan.corpus}-{episodes_fingerprint(plan)}"
    parts.mkdir(parents=True, exist_ok=True)
    missing = [number for number in range(plan.simulation.episodes) if not _part(parts, number).is_file()]
    if missing:
        choose_renderer()
        _render(plan, parts, missing)
    _assemble(plan, parts, Path(out))
    shutil.rmtree(parts)


def episode_generator(plan: SimulationPlan, number: int) -> np.random.Generator:
    """Return the random numbers of one episode, the same in every process and order."""
    words = hashlib.sha256(f"{plan.corpus}/{plan.simulation.seed}/{number}".encode()).digest()
    return np.random.default_rng(int.from_bytes(words[:16], "big"))


def episodes_fingerprint(plan: SimulationPlan) -> str:
    """Hash all that changes an episode: the plan without workers and number, the simulators' code, package versions."""
    content = plan.model_dump(exclude={"workers": True, "hide_actions": True, "simulation": {"episodes"}})
    sources = sorted(Path(simulators.__file__).parent.glob("*.py"))
    return fingerprint(content, *sources, *(f"{name}={version(name)}" for name in PACKAGES))


def choose_renderer() -> None:
    """Set MUJOCO_GL to the first off-screen renderer that works here, unless it is set already."""
    wanted = os.environ.get("MUJOCO_GL")
    for name in [wanted] if wanted else ["egl", "osmesa"]:
        probe = [sys.executable, "-c", "import mujoco; mujoco.GLContext(16, 16).make_current()"]
        if subprocess.run(probe, env=os.environ | {"MUJOCO_GL": name}, capture_output=True).returncode == 0:
            os.environ["MUJOCO_GL"] = name
            return
    raise ValueError(
        f"simulate: no off-screen renderer works (MUJOCO_GL: {wanted or 'egl, osmesa'}); "
        "install one: apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri, or libosmesa6"
    )


def _render(plan: SimulationPlan, parts: Path, missing: list[int]) -> None:
    jobs = {number: Call(_render_part, (plan, number, _part(parts, number))) for number in missing}
    lost = f"simulate {plan.corpus}: a worker was killed (out of memory?); call again to go on, or lower workers"
    run_jobs(jobs, plan.workers, f"simulate {plan.corpus}", len(missing), lost=lost)


def _quieten() -> None:
    warnings.simplefilter("ignore")  # the simulators' own notices, the same in every worker
    logging.disable(logging.WARNING)
    os.environ.setdefault("LP_NUM_THREADS", "0")  # Mesa's software renderer: the workers are the threads
    with contextlib.suppress(ImportError):  # gymnasium's packages print news on import
        import farama_notifications

        farama_notifications.notifications.clear()


def _render_part(plan: SimulationPlan, number: int, path: Path) -> None:
    _quieten()
    record = simulators.recorder(plan.environment)
    how = plan.simulation
    filming = simulators.Filming(how.variety, how.camera_reach, how.camera_speed)
    episode = record(episode_generator(plan, number), how.frames, how.size, how.fps, filming)
    about = {"task": np.array(episode.task), "names": np.array(episode.names)}
    with renamed(path) as partial, partial.open("wb") as file:
        np.savez(file, frames=episode.frames, actions=episode.actions, **about)
    reporter(number)(1, 1)


def _assemble(plan: SimulationPlan, parts: Path, out: Path) -> None:
    built = parts / "dataset"
    shutil.rmtree(built, ignore_errors=True)
    episodes = _read_parts(plan, parts)
    first = next(episodes)
    names = () if plan.hide_actions else first.names
    write_dataset(
        built, ((e.frames, e.actions, e.task) for e in itertools.chain([first], episodes)),
        fps=plan.simulation.fps, size=(plan.simulation.size, plan.simulation.size),
        action_dim=len(names), action_names=names, robot=plan.environment,
    )  # fmt: skip
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(built, out)


def _read_parts(plan: SimulationPlan, parts: Path) -> Iterator[Episode]:
    for number in range(plan.simulation.episodes):
        path = _part(parts, number)
        try:
            with np.load(path, allow_pickle=False) as part:
                yield Episode(part["frames"], part["actions"], str(part["task"]), tuple(part["names"].tolist()))
        except (ValueError, KeyError, OSError, zipfile.BadZipFile):
            path.unlink(missing_ok=True)
            raise ValueError(f"simulate: {path} is damaged and was removed; call again to render it anew") from None


def _part(parts: Path, number: int) -> Path:
    return parts / f"episode_{number:06d}.npz"
