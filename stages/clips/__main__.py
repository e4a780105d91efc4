"""Decode every video once into a memory-mapped cache of small frames.

Reads runs/plan/clips.json and data/manifests, writes data/clips. Run: python -m stages.clips
"""

from pathlib import Path

import pandas as pd

from cola_world.data.config import ClipsConfig, read_plan
from cola_world.data.decode import build_clips
from stages.cost import counted

PLAN, MANIFEST, OUT = Path("runs/plan/clips.json"), Path("data/manifests/manifest.parquet"), Path("data/clips")

if __name__ == "__main__":
    with counted("clips"):
        card = build_clips(pd.read_parquet(MANIFEST), read_plan(ClipsConfig, PLAN), OUT)
        aside = f"; see {OUT}/quarantine.csv" if card["quarantined"] else ""
        print(f"clips: {card['frames']} frames of {len(card['corpora'])} corpora; {card['quarantined']} episodes set aside{aside}")
        if "mixture" in card:
            print(card["mixture"]["note"])
