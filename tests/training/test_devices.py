"""A step shared out among processes, or taken in parts, is the step of one process (two gloo processes on the CPU)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from caches import make, plan
from tiny import CONFIGS, RandomBatches, awake

from cola_world.training import checkpoint
from cola_world.training.devices import DeviceConfig, Devices
from cola_world.training.loop import Trainer, TrainingConfig
from cola_world.training.phases import phase_of
from cola_world.training.run import train

ROOT = Path(__file__).parents[2]
CONFIG = TrainingConfig(batch_size=8, learning_rate=1e-3, rise=3)


def curve(phase: str, bottleneck: str = "vq", steps: int = 4, **devices) -> list[dict[str, float]]:
    """Losses of the first steps."""
    made = Devices(DeviceConfig(**devices))
    trainer = Trainer(awake(config=CONFIGS[bottleneck]), phase_of(phase, bottleneck), CONFIG, RandomBatches(), 0, made)
    return [{name: loss.item() for name, loss in trainer.train_step().items()} for _ in range(steps)]


def differences(one: list[dict[str, float]], other: list[dict[str, float]]) -> list[float]:
    return [abs(a[name] - b[name]) for a, b in zip(one, other, strict=True) for name in a]


@pytest.mark.parametrize(("phase", "bottleneck"), [("lam", "vq"), ("warmup", "vq"), ("e2e", "vq"), ("wm", "vae"), ("pretrain", "vq")])
@pytest.mark.parametrize("at_a_time", [2, 3])
def test_accumulated_parts_are_the_whole_batch(phase, bottleneck, at_a_time):
    whole = curve(phase, bottleneck)
    assert max(differences(whole, curve(phase, bottleneck, clips_at_a_time=at_a_time))) < 1e-5


def test_recomputed_activations_change_nothing():
    assert curve("e2e", recompute=True) == curve("e2e")


def launched(a_plan, inputs, ranks: int, scratch: Path) -> subprocess.CompletedProcess:
    """The run of seed 1 under torchrun."""
    file = scratch.with_suffix(".json")
    file.write_text(a_plan.model_dump_json())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    command += ["-m", "cola_world.training.run", str(file), "--seed", "1", "--root", str(inputs.root)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "COLA_SCRATCH": str(scratch)}
    return subprocess.run(command, env=environment | {"ACCELERATE_USE_CPU": "true"}, capture_output=True, text=True, check=False)


def metrics(scratch: Path) -> dict[tuple[str, str], float]:
    [file] = scratch.glob("runs/*/metrics.csv")
    rows = [line.split(",") for line in file.read_text().splitlines()[1:]]
    return {(step, name): float(value) for step, name, value in rows}


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_two_processes_are_one(tmp_path, monkeypatch, parallel):
    inputs = make(tmp_path / "caches")
    training = {"batch_size": 4, "learning_rate": 1e-3, "rise": 3}
    a_plan = plan("run", "e2e", training=training, devices={"parallel": parallel, "clips_at_a_time": 1})
    result = launched(a_plan, inputs, 2, tmp_path / "two")
    assert result.returncode == 0, result.stderr[-3000:]
    monkeypatch.setenv("COLA_SCRATCH", str(tmp_path / "one"))
    folder = train(plan("run", "e2e", training=training), 1, inputs, lambda done, total: None)
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert one.keys() == two.keys()
    assert max(abs(one[key] - two[key]) for key in one) < 1e-5
    [cost] = (tmp_path / "two").glob("runs/*/done.json")
    assert json.loads(cost.read_text())["devices"] == 2
    [snapshot] = (tmp_path / "two").glob("runs/*/snapshots/12.safetensors")
    ours, theirs = checkpoint.load(folder / "snapshots" / "12.safetensors")[0], checkpoint.load(snapshot)[0]
    # Weights whose gradient is rounding alone (a key's bias, say) go their own ways under Adam; no loss sees them.
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}


@pytest.mark.slow
def test_a_batch_that_does_not_divide_is_refused(tmp_path):
    inputs = make(tmp_path / "caches")
    result = launched(plan("run", "lam", training={"batch_size": 3, "learning_rate": 1e-3}), inputs, 2, tmp_path / "two")
    assert result.returncode != 0
    assert "training.batch_size: 3 clips do not divide among 2 devices; right would be 2 or 4" in result.stderr
