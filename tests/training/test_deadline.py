"""Work that is stopped, by a kill or because its time is up, goes on and ends with the same bits."""

import time
from contextlib import contextmanager

import numpy as np
import pytest
from caches import make, plan

from cola_world.data import latents
from cola_world.data.latents import cache_latents
from cola_world.running import deadline
from cola_world.training import run, vae
from cola_world.training.vae import VAEPlan, make_vae

SMALL = {"kind": "small", "model": {"channels": [8, 8, 8], "groups": 4}, "steps": 8, "batch_size": 4}
PLAN, OTHER = (VAEPlan(vae=SMALL | {"learning_rate": rate}, crop=16, views=2) for rate in (2e-3, 1e-3))


class Stopped(Exception):
    pass


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    monkeypatch.setenv("COLA_SCRATCH", str(tmp_path / "scratch"))
    return make(tmp_path)


def silent(done: int, total: int) -> None:
    pass


def stop_after(calls: int):
    """A progress that ends the work with its so many'th call."""
    left = calls

    def progress(done: int, total: int) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise Stopped

    return progress


@contextmanager
def ending(by: str, monkeypatch):
    """The work in it is ended by its progress, or by a deadline that was over before it began."""
    error, message = {"kill": (Stopped, None), "deadline": (ValueError, "its time is up at .*; run again")}[by]
    with monkeypatch.context() as patch, pytest.raises(error, match=message):
        if by == "deadline":
            patch.setenv("COLA_UNTIL", "0")
        yield


def content(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("seconds", [-1, 3600])
def test_a_deadline_is_a_moment(monkeypatch, seconds):
    assert not deadline.late()
    moment = time.time() + seconds
    monkeypatch.setenv("COLA_UNTIL", str(moment))
    assert deadline.late() == (moment < time.time())


def test_a_run_whose_time_is_up_saves_and_goes_on_with_the_same_bits(inputs, tmp_path, monkeypatch):
    whole = run.train(plan("run", "e2e"), 1, inputs, silent)
    monkeypatch.setenv("COLA_SCRATCH", str(tmp_path / "other"))
    monkeypatch.setenv("COLA_UNTIL", "0")
    for step in range(1, 12):
        with pytest.raises(ValueError, match=f"run seed 1: its time is up at optimiser step {step} of 12; run again, it goes on"):
            run.train(plan("run", "e2e"), 1, inputs, silent)
    late = run.train(plan("run", "e2e"), 1, inputs, silent)  # whose last step is all that was left
    for name in ("snapshots/12.safetensors", "metrics.csv"):
        assert (whole / name).read_bytes() == (late / name).read_bytes()


def test_saving_that_takes_long_is_done_more_rarely(inputs, monkeypatch):
    """Steps and saves cost what this clock says: a step a tenth of a second, saving two seconds; saved every second at most."""
    now, saves = [0.0], []
    monkeypatch.setattr(run, "SAVE_EVERY_S", 1.0)
    monkeypatch.setattr(run.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(run.SeedRun, "save_state", lambda self, losses: (saves.append(self.trainer.step), now.__setitem__(0, now[0] + 2)))
    run.train(plan("run", "lam", steps=60), 1, inputs, lambda done, total: now.__setitem__(0, now[0] + 0.1))
    assert saves[0] in (11, 12) and all(b - a in (20, 21, 22) for a, b in zip(saves, saves[1:], strict=False)) and len(saves) == 3


@pytest.mark.parametrize("by", ["kill", "deadline"])
def test_a_vae_that_was_stopped_ends_with_the_same_bits(inputs, tmp_path, monkeypatch, by):
    monkeypatch.setattr(vae, "REPORT_EVERY", 1)
    make_vae(inputs.clips, PLAN, tmp_path / "whole", silent)
    monkeypatch.setattr(vae, "SAVE_EVERY_S", 0.0)
    for calls in (3, 2):
        with ending(by, monkeypatch):
            make_vae(inputs.clips, PLAN, tmp_path / "vae", stop_after(calls))
    seen = []
    make_vae(inputs.clips, PLAN, tmp_path / "vae", lambda done, total: seen.append(done))
    assert content(tmp_path / "whole") == content(tmp_path / "vae")
    assert seen[0] == (4 if by == "kill" else 3) and not list((tmp_path / "scratch").rglob("*.safetensors"))


@pytest.mark.parametrize("by", ["kill", "deadline"])
def test_latents_that_were_stopped_are_the_same(inputs, tmp_path, monkeypatch, by):
    monkeypatch.setattr(latents, "FRAMES_AT_A_TIME", 20)
    make_vae(inputs.clips, PLAN, tmp_path / "vae", silent)
    cache_latents(inputs.clips, tmp_path / "vae", tmp_path / "whole", 16, 2, silent)
    monkeypatch.setattr(latents, "SAVE_EVERY_S", 0.0)
    for calls in (7, 2):
        with ending(by, monkeypatch):
            cache_latents(inputs.clips, tmp_path / "vae", tmp_path / "out", 16, 2, stop_after(calls))
    seen = []
    cache_latents(inputs.clips, tmp_path / "vae", tmp_path / "out", 16, 2, lambda done, total: seen.append(done))
    assert content(tmp_path / "whole") == content(tmp_path / "out")
    # 96 frames, 20 at a time, twice: five parts a view; nine were done before by one, two by the other.
    assert len(seen) == (1 if by == "kill" else 8)
    assert np.load(tmp_path / "out" / "latents.npy").shape == (2, 96, 4, 4, 4)


def test_another_vae_has_latents_of_its_own(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(latents, "FRAMES_AT_A_TIME", 20)
    monkeypatch.setattr(latents, "SAVE_EVERY_S", 0.0)
    make_vae(inputs.clips, PLAN, tmp_path / "vae", silent)
    make_vae(inputs.clips, OTHER, tmp_path / "other", silent)
    with pytest.raises(Stopped):
        cache_latents(inputs.clips, tmp_path / "vae", tmp_path / "out", 16, 2, stop_after(3))
    cache_latents(inputs.clips, tmp_path / "other", tmp_path / "out", 16, 2, silent)
    cache_latents(inputs.clips, tmp_path / "other", tmp_path / "whole", 16, 2, silent)
    assert content(tmp_path / "whole") == content(tmp_path / "out")
