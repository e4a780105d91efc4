"""Train the small stand-in VAE, or take the public one that the profile names, and measure its latents' statistics.

Reads data/clips, writes runs/vae. Run: python -m stages.vae
"""

import json
from pathlib import Path

from cola_world.progress import Bar
from cola_world.training.vae import VAEPlan, make_vae
from cola_world.weights import obtain_row
from stages.cost import counted

WEIGHTS = Path("data/weights")


def with_public_file(plan: dict, rows: dict) -> dict:
    """The plan of a training VAE turned into that of a row of data/weights.yaml, once its file is here and verified."""
    _, path = obtain_row(rows, WEIGHTS)
    return {"kind": "sdxl", "path": str(path), **{name: plan[name] for name in ("model", "crop", "views")}}


if __name__ == "__main__":
    with counted("vae"):
        plan = json.loads(Path("runs/plan/vae.json").read_text())
        rows = plan.pop("weights", None)
        plan = with_public_file(plan, rows) if rows else plan
        with Bar("vae") as bar:
            make_vae(Path("data/clips"), VAEPlan.model_validate(plan), Path("runs/vae"), bar.update)
