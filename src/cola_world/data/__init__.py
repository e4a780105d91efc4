"""From video on disk to batches of clips: simulate, manifest, clip cache, latent cache."""
