"""Index every corpus: episodes, their split, and the checksums of their files.

Reads runs/plan/manifest.json and data/raw, writes data/manifests/manifest.parquet. Run: python -m stages.manifest
"""

from pathlib import Path

from cola_world.data.corpora import CorpusConfig
from cola_world.data.manifest import build_manifest
from stages.entry import counted, read_arguments

OUT = Path("data/manifests/manifest.parquet")

if __name__ == "__main__":
    with counted("manifest"):
        corpora = {name: CorpusConfig(**row) for name, row in read_arguments("manifest")["corpora"].items()}
        manifest = build_manifest(corpora)
        OUT.parent.mkdir(parents=True, exist_ok=True)
        manifest.to_parquet(OUT, index=False)
        counts = manifest.groupby(["corpus", "split"]).size()
        print("manifest: " + ", ".join(f"{corpus} {count} {split}" for (corpus, split), count in counts.items()) + " episodes")
