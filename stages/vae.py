"""Train the small stand-in VAE, or take the public one that the profile names, and measure its latents' statistics.

Reads data/clips, writes runs/vae. Run: python -m stages.vae
"""

from cola_world.running.progress import Bar
from cola_world.training.vae import VAEPlan, make_vae
from cola_world.weights.public import obtain_row
from stages.entry import HERE, counted, read_plan

if __name__ == "__main__":
    with counted("vae"):
        plan = read_plan(VAEPlan, "vae")
        public = obtain_row(plan.public, HERE.weights)[1] if plan.public else None
        with Bar("vae") as bar:
            make_vae(HERE.clips, plan, HERE.vae, bar.update, public)
