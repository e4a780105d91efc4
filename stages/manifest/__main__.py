"""Index every corpus: episodes, their split, and the checksums of their files.

Reads runs/plan/manifest.json and data/raw, writes data/manifests/manifest.parquet. Run: python -m stages.manifest
"""

import sys
from pathlib import Path

from cola_world.data.config import ManifestConfig, read_plan
from cola_world.data.manifest import build_manifest
from cola_world.lifeline import die_with_parent

PLAN, OUT = Path("runs/plan/manifest.json"), Path("data/manifests/manifest.parquet")

if __name__ == "__main__":
    die_with_parent()
    try:
        manifest = build_manifest(read_plan(ManifestConfig, PLAN))
    except ValueError as error:
        sys.exit(f"manifest: {error}")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    manifest.to_parquet(OUT, index=False)
    counts = manifest.groupby(["corpus", "split"]).size()
    print("manifest: " + ", ".join(f"{corpus} {count} {split}" for (corpus, split), count in counts.items()) + " episodes")
