"""From video on disk to batches of clips: simulate, manifest, clips."""
