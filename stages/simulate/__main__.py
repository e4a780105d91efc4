"""Render one stand-in corpus with MuJoCo.

Reads runs/plan/simulate/<corpus>.json, writes data/raw/<corpus>. Run: python -m stages.simulate <corpus>
"""

import sys
from pathlib import Path

from cola_world.data.config import SimulateConfig, read_plan
from cola_world.data.corpora import simulate
from stages.cost import counted

PLANS, OUT = Path("runs/plan/simulate"), Path("data/raw")

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("simulate: one corpus is needed: python -m stages.simulate <corpus>")
    with counted(f"simulate_{sys.argv[1]}"):
        simulate(read_plan(SimulateConfig, PLANS / f"{sys.argv[1]}.json"), OUT / sys.argv[1])
