"""What the training stages share: read the run's plan, train its seeds, write `runs/<run>/`."""

import sys
from pathlib import Path

from cola_world.lifeline import die_with_parent
from cola_world.plan import RunPlan
from cola_world.training.pool import Inputs, run_to

INPUTS = Inputs(clips=Path("data/clips"), latents=Path("data/latents"), runs=Path("runs"))


def main(run: str) -> None:
    die_with_parent()
    plan = RunPlan.model_validate_json(Path("runs/plan", f"{run}.json").read_text())
    try:
        run_to(plan, INPUTS, Path("runs", run))
    except ValueError as error:
        sys.exit(f"{run}: {error}")
