"""Render one stand-in corpus with MuJoCo; of one that somebody has brought, note where it lies.

Reads runs/plan/simulate/<corpus>.json, writes data/raw/<corpus>. Run: python -m stages.simulate <corpus>
"""

import json
import sys
from pathlib import Path

from cola_world.data.config import BroughtConfig, SimulateConfig, read_plan
from cola_world.data.corpora import bring, simulate
from stages.cost import counted

PLANS, OUT = Path("runs/plan/simulate"), Path("data/raw")


def main(corpus: str) -> None:
    plan, out = PLANS / f"{corpus}.json", OUT / corpus
    if "path" in json.loads(plan.read_text()):
        bring(read_plan(BroughtConfig, plan), out)
    else:
        simulate(read_plan(SimulateConfig, plan), out)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("simulate: one corpus is needed: python -m stages.simulate <corpus>")
    with counted(f"simulate_{sys.argv[1]}"):
        main(sys.argv[1])
