"""Check params.yaml and the scale's profile, and resolve them into one plan a step: runs/plan/.

Run: python -m stages.plan (about a second at every scale).
"""

import shutil
from pathlib import Path

from cola_world import config, measuring, plan, weights
from stages.cost import counted

if __name__ == "__main__":
    with counted("plan"):
        dials = *config.load(Path(".")), weights.read_table(Path("data/weights.yaml"))
        files = plan.resolve(*dials) | measuring.resolve(*dials)
        shutil.rmtree("runs/plan", ignore_errors=True)
        plan.write(files, Path("runs/plan"))
