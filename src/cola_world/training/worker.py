"""One run and seed in a process of its own, or in as many as a launcher starts: `<launch> -m cola_world.training.worker`.

Run by the pool where the profile's `launch` is not plain `python`; by hand: torchrun --nproc-per-node 8 -m
cola_world.training.worker runs/plan/e2e.json --seed 0 --clips data/clips --latents data/latents --runs runs
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from cola_world.files import renamed
from cola_world.lifeline import die_with_parent
from cola_world.plan import RunPlan
from cola_world.progress import Bar
from cola_world.training import store
from cola_world.training.run import Inputs, run_seed


def launch(plan: RunPlan, seed: int, inputs: Inputs) -> Path:
    """Train under the profile's launcher -> the run's folder in the store; ValueError with its exit status."""
    path = store.run_path(plan, seed, inputs.files(plan, seed))
    path.mkdir(parents=True, exist_ok=True)
    file = path / "plan.json"
    with renamed(file) as partial:
        partial.write_text(plan.model_dump_json())
    folders = [word for name, folder in inputs._asdict().items() for word in (f"--{name}", str(folder))]
    command = [*shlex.split(plan.launch), "-m", "cola_world.training.worker", str(file), "--seed", str(seed), *folders]
    status = subprocess.run(command, check=False).returncode
    if status:
        raise ValueError(f"seed {seed}: {plan.launch!r} ended with status {status}; its own message is above")
    return path


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    for name in Inputs._fields:
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args(words)


def main() -> None:
    die_with_parent()
    chosen = parse()
    plan = RunPlan.model_validate_json(chosen.plan.read_text())
    inputs = Inputs(*(getattr(chosen, name) for name in Inputs._fields))
    try:
        with Bar(f"{plan.run} seed {chosen.seed}") as bar:
            run_seed(plan, chosen.seed, inputs, bar.update)
    except ValueError as error:
        sys.exit(f"{plan.run}: {error}")


if __name__ == "__main__":
    main()
