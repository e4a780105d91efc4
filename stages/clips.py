"""Decode every video once into a memory-mapped cache of small frames.

Reads runs/plan/clips.json and data/manifests, writes data/clips. Run: python -m stages.clips
"""

from pathlib import Path

import pandas as pd

from cola_world.data.clip_cache import build_clips
from stages.entry import HERE, counted, read_arguments

MANIFEST = Path("data/manifests/manifest.parquet")

if __name__ == "__main__":
    with counted("clips"):
        card = build_clips(pd.read_parquet(MANIFEST), HERE.clips, **read_arguments("clips"))
        aside = f"; see {HERE.clips}/quarantine.csv" if card["quarantined"] else ""
        print(f"clips: {card['frames']} frames of {len(card['corpora'])} corpora; {card['quarantined']} episodes set aside{aside}")
        if "mixture" in card:
            print(card["mixture"]["note"])
