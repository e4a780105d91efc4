"""Clip and latent caches of noise, in the layout that the stages write."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from tiny import CONFIG

from cola_world.running.folders import Folders
from cola_world.training.plan import Parent, RunPlan


def make(folder: Path, episodes: int = 6, frames: int = 8) -> Folders:
    """Two corpora of short episodes, 18-px frames for 16-px crops, two views."""
    rng, count = np.random.default_rng(0), 2 * episodes * frames
    inputs = Folders(folder)
    for path in (inputs.clips, inputs.latents):
        path.mkdir(parents=True)
    np.save(inputs.clips / "frames.npy", rng.integers(0, 256, (count, 18, 18, 3), dtype=np.uint8))
    np.save(inputs.clips / "actions.npy", rng.normal(size=(count, 4)).astype(np.float32))
    np.save(inputs.latents / "latents.npy", rng.normal(size=(2, count, 4, 4, 4)).astype(np.float16))
    rows = [
        {
            "corpus": corpus, "group": "oxe", "episode": episode, "split": "val" if episode == 0 else "train",
            "offset": (index * episodes + episode) * frames, "frames": frames, "fps": 10.0, "action_dim": 4, "stride": 1,
            "action_names": "x,y,z,gripper", "evaluation_only": False,
        }
        for index, corpus in enumerate(("arm", "hand")) for episode in range(episodes)
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(inputs.clips / "episodes.parquet")
    (inputs.clips / "card.json").write_text("{}")
    (inputs.latents / "card.json").write_text(json.dumps({"crop": 16, "views": 2}))
    return inputs


def plan(run: str, phase: str, parents: tuple[Parent, ...] = (), start: int = 0, steps: int = 12, **changes) -> RunPlan:
    """A run of a few optimiser steps; one paper step is one of them."""
    values = {
        "run": run, "phase": phase, "scale": "smoke", "seeds": [1], "parents": list(parents), "start_step": start,
        "steps": steps, "snapshots": [steps], "log_every": 4, "steps_per_paper_step": 1.0, "workers": 1,
        "clips": {"size": 18, "crop": 16, "views": 2, "num_frames": 3, "heldout_clips": 6}, "weights": {"arm": 0.5, "hand": 0.5},
        "system": CONFIG, "training": {"batch_size": 2, "learning_rate": 1e-3, "rise": 3},
        "continued": phase == "warmup",
    }  # fmt: skip
    return RunPlan(**(values | changes))
