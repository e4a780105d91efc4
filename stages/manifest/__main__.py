"""Index every corpus: episodes, their split, and the checksums of their files.

Reads runs/plan/manifest.json and data/raw, writes data/manifests/manifest.parquet. Run: python -m stages.manifest
"""

from pathlib import Path

from cola_world.data.config import ManifestConfig, read_plan
from cola_world.data.manifest import build_manifest
from stages.cost import counted

PLAN, OUT = Path("runs/plan/manifest.json"), Path("data/manifests/manifest.parquet")

if __name__ == "__main__":
    with counted("manifest"):
        manifest = build_manifest(read_plan(ManifestConfig, PLAN))
        OUT.parent.mkdir(parents=True, exist_ok=True)
        manifest.to_parquet(OUT, index=False)
        counts = manifest.groupby(["corpus", "split"]).size()
        print("manifest: " + ", ".join(f"{corpus} {count} {split}" for (corpus, split), count in counts.items()) + " episodes")
