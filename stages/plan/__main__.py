"""Check params.yaml and the scale's profile, and resolve them into one plan a step: runs/plan/.

Run: python -m stages.plan (about a second at every scale).
"""

import shutil
import sys
from pathlib import Path

from cola_world import config, plan, weights

if __name__ == "__main__":
    try:
        files = plan.resolve(*config.load(Path(".")), weights.read_table(Path("data/weights.yaml")))
    except ValueError as error:
        sys.exit(str(error))
    shutil.rmtree("runs/plan", ignore_errors=True)
    plan.write(files, Path("runs/plan"))
