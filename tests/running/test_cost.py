"""What work costs is kept attempt by attempt, whether it ends well, fails, or is killed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from cola_world.running import cost
from cola_world.running.cost import Attempt


def attempt(folder, steps: int, error: BaseException | None = None) -> None:
    with Attempt(folder, run="lam", seed=3) as own:
        own.steps = steps
        if error:
            raise error


def test_a_record_says_what_was_done_and_how_it_ended(tmp_path):
    attempt(tmp_path, 5)
    with pytest.raises(ValueError, match="wrong"):
        attempt(tmp_path, 7, ValueError("wrong"))
    with pytest.raises(SystemExit):
        attempt(tmp_path, 1, SystemExit(0))
    with pytest.raises(SystemExit):
        attempt(tmp_path, 1, SystemExit("wrong"))
    records = cost.read(tmp_path)
    assert [(record["outcome"], record["steps"]) for record in records] == [("done", 5), ("failed", 7), ("done", 1), ("failed", 1)]
    assert {(record["run"], record["seed"], record["device"]) for record in records} == {("lam", 3, "cpu")}
    assert all(record["peak_rss_mb"] > 1 for record in records)


def test_a_total_is_of_all_attempts(tmp_path):
    for name, record in enumerate(({"wall_s": 1.5, "steps": 4, "peak_rss_mb": 9}, {"wall_s": 2.25, "steps": 8, "peak_rss_mb": 5})):
        (tmp_path / f"{name}.json").write_text(json.dumps(record | {"outcome": f"of {name}", "peak_device_mb": name}))
    found = cost.total(tmp_path)
    assert found == {"wall_s": 3.8, "steps": 12, "peak_rss_mb": 9, "peak_device_mb": 1, "outcome": "of 1", "attempts": 2}


KILLED = """
import sys, time
from pathlib import Path
from cola_world.running import cost
cost.RENEW_EVERY_S = 0.02
with cost.Attempt(Path(sys.argv[1]), run="vae") as attempt:
    attempt.steps = 11
    time.sleep(60)
"""


def test_a_killed_attempt_is_counted_up_to_its_last_sign_of_life(tmp_path, monkeypatch):
    monkeypatch.setenv("COLA_SCRATCH", str(tmp_path))
    folder = tmp_path / "stages" / "vae" / "attempts"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], env=environment)
    end = time.monotonic() + 60
    while not any(record["steps"] == 11 for record in cost.read(folder)):
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    [record] = cost.unfinished(tmp_path)
    assert (record["run"], record["outcome"], record["steps"]) == ("vae", "killed", 11) and record["wall_s"] >= 0
    cost.settle(folder)
    assert cost.unfinished(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_not_the_work_s_trouble(tmp_path):
    (tmp_path / "file").write_text("")
    attempt(tmp_path / "file" / "attempts", 1)
