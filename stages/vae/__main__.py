"""Train the small stand-in VAE and measure its latents' statistics (the public SDXL VAE takes its place at paper scale).

Reads data/clips, writes runs/vae. Run: python -m stages.vae
"""

import json
from pathlib import Path

from cola_world.lifeline import die_with_parent
from cola_world.progress import Bar
from cola_world.training.vae import VAETraining, latent_statistics, train_vae

CLIPS, OUT = Path("data/clips"), Path("runs/vae")

if __name__ == "__main__":
    die_with_parent()
    config = VAETraining.model_validate_json(Path("runs/plan/vae.json").read_text())
    with Bar("vae") as bar:
        model = train_vae(CLIPS, config, lambda step, mse: bar.update(step, config.steps))
    model.save_pretrained(OUT)
    statistics = latent_statistics(model, CLIPS, config)
    (OUT / "latent_statistics.json").write_text(json.dumps(statistics, indent=1, sort_keys=True) + "\n")
