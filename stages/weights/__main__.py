"""Fetch and verify the public weights that the scale's profile names, ahead of the steps that start from them.

Reads runs/plan/weights.json, writes data/weights/verified.json and, of files that torch saved, their safetensors. Only a
scale whose profile has `weights` has anything to do here. Run: python -m stages.weights
"""

import json
from pathlib import Path

from cola_world.weights import PublicFile, obtain, verified
from stages.cost import counted

PLAN, OUT = Path("runs/plan/weights.json"), Path("data/weights")

if __name__ == "__main__":
    with counted("weights", OUT / "cost.json"):
        files = {name: PublicFile.model_validate(row) for name, row in json.loads(PLAN.read_text()).items()}
        facts = {name: verified(file, obtain(name, file, OUT)) for name, file in files.items()}
        OUT.mkdir(parents=True, exist_ok=True)
        (OUT / "verified.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
        print(f"weights: verified {', '.join(facts)}" if facts else "weights: this scale's profile names none; nothing to do")
