"""Simulated corpora: the same frames whatever the workers, and an interrupted call goes on where it was."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from cola_world.data import simulators
from cola_world.data.corpora import CorpusConfig, bring
from cola_world.data.lerobot_writer import write_dataset
from cola_world.data.manifest import build_manifest
from cola_world.data.simulate import (
    Simulation,
    SimulationPlan,
    choose_renderer,
    episode_generator,
    episodes_fingerprint,
    simulate,
)  # fmt: skip

HOW = Simulation(episodes=4, frames=8, size=32)
PLAN = SimulationPlan(corpus="bodies", environment="bodies", simulation=HOW, workers=1)


def changed(**changes) -> SimulationPlan:
    """PLAN with changes to how much is rendered."""
    return PLAN.model_copy(update={"simulation": HOW.model_copy(update=changes)})


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def parts(scratch: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in scratch.rglob("*.npz")}


def test_one_and_two_workers_give_the_same_bytes(tmp_path):
    for workers in (1, 2):
        simulate(PLAN.model_copy(update={"workers": workers}), tmp_path / str(workers), tmp_path / "scratch")
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.slow
def test_a_killed_call_leaves_no_worker_and_goes_on(tmp_path):
    plan = changed(episodes=20, frames=30, size=64)
    code = f"""
from pathlib import Path
from cola_world.data.simulate import SimulationPlan, simulate
if __name__ == "__main__":
    simulate(SimulationPlan.model_validate_json({plan.model_dump_json()!r}), Path("out"), Path("scratch"))
"""
    (tmp_path / "call.py").write_text(code)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    call = subprocess.Popen([sys.executable, "call.py"], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(parts(tmp_path / "scratch")) >= 2 or call.poll() is not None)
    call.send_signal(signal.SIGKILL)
    call.wait()
    wait_until(lambda: not processes_below(tmp_path))
    before = parts(tmp_path / "scratch")
    assert 2 <= len(before) < plan.simulation.episodes and not (tmp_path / "out").exists()
    for path in before:  # the finished call removes its scratch folder
        os.link(path, tmp_path / path.name)
    simulate(plan, tmp_path / "out", tmp_path / "scratch")
    assert all((tmp_path / path.name).stat().st_mtime_ns == before[path] for path in before)
    simulate(plan, tmp_path / "undisturbed", tmp_path / "other scratch")
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


def wait_until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def processes_below(folder: Path) -> list[str]:
    """Ids of the processes that work in this folder (Linux)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            found += [entry.name] if (entry / "cwd").resolve() == folder.resolve() else []
        except OSError:
            continue
    return found


def test_finished_episodes_are_not_rendered_again(tmp_path, monkeypatch):
    simulate(PLAN, tmp_path / "out", tmp_path / "scratch")
    wanted = contents(tmp_path / "out")
    monkeypatch.setattr("cola_world.data.simulate.shutil.rmtree", lambda *_, **__: None)
    simulate(PLAN, tmp_path / "again", tmp_path / "scratch")
    monkeypatch.setattr("cola_world.data.simulate._render", pytest.fail)
    simulate(PLAN, tmp_path / "third", tmp_path / "scratch")
    assert contents(tmp_path / "third") == wanted


@pytest.mark.parametrize("environment", sorted(simulators.ENVIRONMENTS))
def test_every_environment_moves_and_repeats_itself(environment):
    choose_renderer()
    record = simulators.recorder(environment)
    first, other, again = (record(episode_generator(PLAN, number), 4, 32, 10, simulators.Filming()) for number in (0, 1, 0))
    assert first.frames.shape == (4, 32, 32, 3) and first.frames.dtype == np.uint8
    assert first.actions.dtype == np.float32 and np.abs(first.actions).max() <= 1
    assert first.actions.shape == (4, len(first.names))
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.actions, again.actions)
    assert not np.array_equal(first.frames, other.frames)
    assert np.abs(np.diff(first.frames.astype(int), axis=0)).mean() > 1


@pytest.mark.parametrize("environment", sorted(set(simulators.ENVIRONMENTS) - {"bodies"}))
def test_a_camera_that_looks_about_adds_its_pan_and_tilt(environment):
    choose_renderer()
    record = simulators.recorder(environment)
    still, moving = (record(episode_generator(PLAN, 0), 6, 32, 10, simulators.Filming(reach=reach)) for reach in (0.0, 0.2))
    turns = moving.actions[:, still.actions.shape[1] :]
    assert turns.shape == (6, 2) and 0 < np.abs(turns).max() <= 1
    assert moving.names == (*still.names, "pan", "tilt")
    change = [np.abs(np.diff(episode.frames.astype(int), axis=0)).mean() for episode in (still, moving)]
    assert change[1] > 1.2 * change[0]


def turn_since(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Rotation vector [3] between two nearby orientations, each a flat matrix [9]."""
    turn = after.reshape(3, 3) @ before.reshape(3, 3).T
    return np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2


def joint_motion(before, after) -> np.ndarray:
    return after["joints"] - before["joints"]


def hand_motion(before, after) -> np.ndarray:
    return np.concatenate([after["place"] - before["place"], turn_since(before["frame"], after["frame"])])


@pytest.mark.parametrize(
    ("environment", "look", "motion", "least"),
    [
        ("pusher", lambda data: {"joints": data.qpos[:7].copy()}, joint_motion, 0.9),
        ("two_arms", lambda data: {"joints": np.array([data.joint(n).qpos[0] for n in two_arms_joints()])}, joint_motion, 0.9),
        ("kitchen", lambda data: {n: getattr(data.site("end_effector"), a).copy() for n, a in HAND.items()}, hand_motion, 0.6),
    ],
)
def test_robots_move_as_their_actions_say(environment, look, motion, least, monkeypatch):
    choose_renderer()
    record = simulators.recorder(environment)
    seen = []
    monkeypatch.setattr("cola_world.data.simulators.scene.Studio.shoot", lambda studio, data, view: seen.append(look(data)) or 0)
    episodes = [record(episode_generator(PLAN, number), 40, 32, 10, simulators.Filming()) for number in range(4)]
    done = np.concatenate([[motion(*pair) for pair in pairwise(seen[40 * n : 40 * n + 40])] for n in range(4)])
    told = np.concatenate([episode.actions[:-1, : done.shape[1]] for episode in episodes])
    assert min(np.corrcoef(told[:, i], done[:, i])[0, 1] for i in range(done.shape[1])) > least


HAND = {"place": "xpos", "frame": "xmat"}


def two_arms_joints() -> tuple[str, ...]:
    from cola_world.data.simulators import two_arms

    return two_arms.ACTIONS[: two_arms.MOVING]


def test_hidden_actions_are_not_written(tmp_path):
    simulate(changed(episodes=2).model_copy(update={"hide_actions": True}), tmp_path / "out", tmp_path / "scratch")
    assert '"action"' not in (tmp_path / "out/meta/info.json").read_text()


def test_the_fingerprint_covers_what_changes_a_picture():
    assert episodes_fingerprint(PLAN) == episodes_fingerprint(PLAN.model_copy(update={"workers": 7}))
    for change in ({"seed": 1}, {"size": 64}, {"frames": 9}, {"camera_reach": 0.2}):
        assert episodes_fingerprint(PLAN) != episodes_fingerprint(changed(**change))
    assert episodes_fingerprint(PLAN) != episodes_fingerprint(PLAN.model_copy(update={"environment": "fetch"}))


def test_an_unknown_simulator_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'bodis' is not known; take one of"):
        simulate(PLAN.model_copy(update={"environment": "bodis"}), tmp_path)


def test_a_corpus_that_is_brought_stays_where_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    episodes = ((np.zeros((5, 16, 16, 3), np.uint8), np.zeros((5, 2)), "task") for _ in range(3))
    write_dataset(Path("own/bridge"), episodes, fps=10, size=(16, 16), action_dim=2, robot="files")
    before = {path: path.read_bytes() for path in Path("own").rglob("*") if path.is_file()}
    bring("own/bridge", Path("data/raw/bridge"))
    assert json.loads(Path("data/raw/bridge/brought.json").read_text()) == {"path": "own/bridge", "episodes": 3, "frames": 15}
    assert {path: path.read_bytes() for path in Path("own").rglob("*") if path.is_file()} == before
    manifest = build_manifest({"bridge": CorpusConfig(group="oxe", path="own/bridge")})
    assert len(manifest) == 3 and manifest["path"].str.startswith("own/bridge").all()
    with pytest.raises(ValueError, match="elsewhere: not a LeRobot data set"):
        bring("elsewhere", Path("data/raw/bridge"))
