"""Fetch and verify the public weights that the scale's profile names, ahead of the steps that start from them.

Reads runs/plan/weights.json, writes data/weights/verified.json and, of files that torch saved, their safetensors. Only a
scale whose profile has `weights` has anything to do here. Run: python -m stages.weights
"""

from cola_world.running.files import write_json
from cola_world.weights.public import PublicFile, obtain, verified
from stages.entry import HERE, counted, read_arguments

OUT = HERE.weights

if __name__ == "__main__":
    with counted("weights", OUT / "cost.json"):
        files = {name: PublicFile(**row) for name, row in read_arguments("weights").items()}
        facts = {name: verified(file, obtain(name, file, OUT)) for name, file in files.items()}
        write_json(OUT / "verified.json", facts)
        print(f"weights: verified {', '.join(facts)}" if facts else "weights: this scale's profile names none; nothing to do")
