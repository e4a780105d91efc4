"""What the training stages share: read the runs' plans, train their seeds, write `runs/<run>/`."""

import sys
from pathlib import Path

from cola_world.lifeline import die_with_parent
from cola_world.plan import RunPlan
from cola_world.training.pool import Inputs, run_to

INPUTS = Inputs(clips=Path("data/clips"), latents=Path("data/latents"), runs=Path("runs"))


def main(*runs: str) -> None:
    """Train runs that do not depend on each other side by side."""
    die_with_parent()
    plans = [RunPlan.model_validate_json(Path("runs/plan", f"{run}.json").read_text()) for run in runs]
    try:
        run_to(plans, INPUTS, Path("runs"))
    except ValueError as error:
        sys.exit(f"{', '.join(runs)}: {error}")
