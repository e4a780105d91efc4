"""Render one stand-in corpus with MuJoCo.

Reads runs/plan/simulate/<corpus>.json, writes data/raw/<corpus>. Run: python -m stages.simulate <corpus>
"""

import sys
from pathlib import Path

from cola_world.data.config import SimulateConfig, read_plan
from cola_world.data.corpora import simulate
from cola_world.lifeline import die_with_parent

PLANS, OUT = Path("runs/plan/simulate"), Path("data/raw")

if __name__ == "__main__":
    die_with_parent()
    if len(sys.argv) != 2:
        sys.exit("simulate: one corpus is needed: python -m stages.simulate <corpus>")
    try:
        simulate(read_plan(SimulateConfig, PLANS / f"{sys.argv[1]}.json"), OUT / sys.argv[1])
    except ValueError as error:
        sys.exit(str(error))
