"""Train the small stand-in VAE, or take the public one that the profile names, and measure its latents' statistics.

Reads data/clips, writes runs/vae. Run: python -m stages.vae
"""

import json
import sys
from pathlib import Path

from cola_world.lifeline import die_with_parent
from cola_world.progress import Bar
from cola_world.training.vae import VAETraining, latent_statistics, train_vae

CLIPS, OUT, WEIGHTS = Path("data/clips"), Path("runs/vae"), Path("data/weights")


def public_vae(rows: dict, config: VAETraining):
    # Only here: a scale that trains needs none of it.
    from cola_world.pretrained import autoencoder
    from cola_world.weights import WeightsError, obtain_row

    try:
        return autoencoder(obtain_row(rows, WEIGHTS)[1], config.model)
    except WeightsError as error:
        sys.exit(str(error))


def trained_vae(config: VAETraining):
    with Bar("vae") as bar:
        return train_vae(CLIPS, config, lambda step, mse: bar.update(step, config.steps))


if __name__ == "__main__":
    die_with_parent()
    plan = json.loads(Path("runs/plan/vae.json").read_text())
    rows = plan.pop("weights", None)
    config = VAETraining.model_validate(plan)
    model = public_vae(rows, config) if rows else trained_vae(config)
    model.save_pretrained(OUT)
    statistics = latent_statistics(model, CLIPS, config)
    (OUT / "latent_statistics.json").write_text(json.dumps(statistics, indent=1, sort_keys=True) + "\n")
