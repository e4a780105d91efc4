"""Train the small stand-in VAE, or take a public one, and measure its latents' statistics.

Reads data/clips, writes runs/vae. Run: python -m stages.vae
"""

import sys
from pathlib import Path

from cola_world.lifeline import die_with_parent
from cola_world.progress import Bar
from cola_world.training.vae import VAEPlan, make_vae

if __name__ == "__main__":
    die_with_parent()
    plan = VAEPlan.model_validate_json(Path("runs/plan/vae.json").read_text())
    try:
        with Bar("vae") as bar:
            make_vae(Path("data/clips"), plan, Path("runs/vae"), bar.update)
    except ValueError as error:
        sys.exit(f"vae: {error}")
