"""Encode every cached frame, or clip, through every crop view, once (paper B.2: the world model sees VAE latents).

Reads data/clips and runs/vae, writes data/latents. Run: python -m stages.latents
"""

from cola_world.data.latents import cache_latents
from cola_world.running.progress import Bar
from stages.entry import HERE, counted, read_arguments

if __name__ == "__main__":
    with counted("latents"), Bar("latents") as bar:
        cache_latents(HERE.clips, HERE.vae, HERE.latents, **read_arguments("latents"), progress=bar.update)
