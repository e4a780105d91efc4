"""Caches of noise in the shapes of a profile, so that a step reads, crops and copies as it does in training, without any data."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from cola_world.data.batches import CachedBatches
from cola_world.training.flops import meta_vae
from cola_world.workspace.profile import Profile

EPISODES = 8


def noise_batches(folder: Path, profile: Profile) -> CachedBatches:
    """Written below `folder`: eight episodes of four clips' length."""
    clips, rng, vae = profile.clips, np.random.default_rng(0), meta_vae(profile.vae_kind, profile.vae.model)
    assert vae.frames_per_latent == 1
    length = 4 * clips.num_frames
    latent = vae.latent_shape(1, clips.crop, clips.crop)[1:]
    for name in ("clips", "latents"):
        (folder / name).mkdir()
    np.save(folder / "clips" / "frames.npy", rng.integers(0, 256, (EPISODES * length, clips.size, clips.size, 3), dtype=np.uint8))
    np.save(folder / "clips" / "actions.npy", np.zeros((EPISODES * length, 1), np.float32))
    latents = rng.standard_normal((clips.views, EPISODES * length, *latent), dtype=np.float32)
    np.save(folder / "latents" / "latents.npy", latents.astype(np.float16))
    (folder / "latents" / "card.json").write_text(json.dumps({"crop": clips.crop, "views": clips.views}))
    rows = {"offset": np.arange(EPISODES) * length, "episode": np.arange(EPISODES)}
    same = {"corpus": "noise", "group": "oxe", "split": "train", "frames": length, "fps": 10.0}
    same |= {"action_dim": 1, "stride": 1, "evaluation_only": False}
    pd.DataFrame(rows).assign(**same).to_parquet(folder / "clips" / "episodes.parquet")
    return CachedBatches(folder / "clips", folder / "latents", clips.num_frames, {"noise": 1.0})
