"""Simulates one corpus: parallel over processes, resumable, and the same whatever the number of processes.

Each finished episode is a file in a scratch folder that is named after everything its content depends on; an
interrupted call goes on with the missing ones, and the data set is put together in order when all are there.
"""

import contextlib
import hashlib
import itertools
import json
import logging
import multiprocessing
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from pathlib import Path

import numpy as np

from cola_world.lifeline import die_with_parent
from cola_world.progress import Bar

from . import simulators
from .config import SimulateConfig
from .lerobot import write_dataset
from .simulators import Episode

PACKAGES = ("mujoco", "metaworld", "gymnasium", "gymnasium-robotics", "numpy")  # whose version may change a picture


def simulate(plan: SimulateConfig, out: str | Path, scratch: str | Path = ".cola/simulate") -> None:
    """Renders the corpus of `plan` into the LeRobot data set `out`, which is replaced.

    ValueError for an unknown environment, or where no off-screen renderer works.
    """
    simulators.check(plan.environment)
    parts = Path(scratch) / f"{plan.corpus}-{fingerprint(plan)}"
    parts.mkdir(parents=True, exist_ok=True)
    missing = [number for number in range(plan.episodes) if not _part(parts, number).is_file()]
    if missing:
        choose_renderer()
        _render(plan, parts, missing)
    _assemble(plan, parts, Path(out))
    shutil.rmtree(parts)


def episode_generator(plan: SimulateConfig, number: int) -> np.random.Generator:
    """An episode's own generator: the same in whatever process and order it is rendered."""
    words = hashlib.sha256(f"{plan.corpus}/{plan.seed}/{number}".encode()).digest()
    return np.random.default_rng(int.from_bytes(words[:16], "big"))


def fingerprint(plan: SimulateConfig) -> str:
    """Changes with anything that changes an episode: the plan but for workers and length, the simulators' code, the packages."""
    content = plan.model_dump(exclude={"workers", "episodes", "group", "stride", "hide_actions"})
    sources = sorted(Path(simulators.__file__).parent.glob("*.py"))
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for path in sources:
        digest.update(path.read_bytes())
    digest.update(" ".join(f"{name}={version(name)}" for name in PACKAGES).encode())
    return digest.hexdigest()[:16]


def choose_renderer() -> None:
    """Sets MUJOCO_GL to the first off-screen renderer that works here, unless a person has set it already."""
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


def _render(plan: SimulateConfig, parts: Path, missing: list[int]) -> None:
    context = multiprocessing.get_context("spawn")  # a renderer does not survive a fork
    workers = min(plan.workers, len(missing))
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    with pool, Bar(f"simulate {plan.corpus}") as bar:
        done = plan.episodes - len(missing)
        bar.update(done, plan.episodes)
        jobs = [pool.submit(_render_part, plan, number, _part(parts, number)) for number in missing]
        try:
            for job in as_completed(jobs):
                job.result()
                done += 1
                bar.update(done, plan.episodes)
        except BrokenProcessPool:
            fault = f"simulate {plan.corpus}: a worker was killed (out of memory?); call again to go on, or lower workers"
            raise ValueError(fault) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    die_with_parent()
    warnings.simplefilter("ignore")  # the simulators' own notices, the same in every worker
    logging.disable(logging.WARNING)
    os.environ.setdefault("LP_NUM_THREADS", "0")  # Mesa's software renderer: the workers are the threads
    with contextlib.suppress(ImportError):  # gymnasium's packages print news on import
        import farama_notifications

        farama_notifications.notifications.clear()


def _render_part(plan: SimulateConfig, number: int, path: Path) -> None:
    record = simulators.recorder(plan.environment)
    filming = simulators.Filming(plan.variety, plan.camera_reach, plan.camera_speed)
    episode = record(episode_generator(plan, number), plan.frames, plan.size, plan.fps, filming)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        np.savez(file, frames=episode.frames, actions=episode.actions, task=np.array(episode.task), names=np.array(episode.names))
    temporary.rename(path)


def _assemble(plan: SimulateConfig, parts: Path, out: Path) -> None:
    built = parts / "dataset"
    shutil.rmtree(built, ignore_errors=True)
    episodes = _read_parts(plan, parts)
    first = next(episodes)
    names = () if plan.hide_actions else first.names
    settings = {"fps": plan.fps, "size": (plan.size, plan.size), "action_dim": len(names), "action_names": names, "robot": plan.environment}
    write_dataset(built, ((e.frames, e.actions, e.task) for e in itertools.chain([first], episodes)), **settings)
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(built, out)


def _read_parts(plan: SimulateConfig, parts: Path) -> Iterator[Episode]:
    for number in range(plan.episodes):
        path = _part(parts, number)
        try:
            with np.load(path, allow_pickle=False) as part:
                yield Episode(part["frames"], part["actions"], str(part["task"]), tuple(part["names"].tolist()))
        except (ValueError, KeyError, OSError, zipfile.BadZipFile):
            path.unlink(missing_ok=True)
            raise ValueError(f"simulate: {path} is damaged and was removed; call again to render it anew") from None


def _part(parts: Path, number: int) -> Path:
    return parts / f"episode_{number:06d}.npz"
