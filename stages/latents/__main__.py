"""Encode every cached frame, or clip, through every crop view, once (paper B.2: the world model sees VAE latents).

Reads data/clips and runs/vae, writes data/latents. Run: python -m stages.latents
"""

import json
from pathlib import Path

from cola_world.progress import Bar
from cola_world.training.latents import cache_latents
from stages.cost import counted

if __name__ == "__main__":
    with counted("latents"):
        plan = json.loads(Path("runs/plan/latents.json").read_text())
        clips, vae, out = Path("data/clips"), Path("runs/vae"), Path("data/latents")
        with Bar("latents") as bar:
            cache_latents(clips, vae, out, plan["crop"], plan["views"], bar.update, plan["num_frames"])
