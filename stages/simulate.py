"""Render one stand-in corpus with MuJoCo; of one that somebody has brought, note where it lies.

Reads runs/plan/simulate/<corpus>.json, writes data/raw/<corpus>. Run: python -m stages.simulate <corpus>
"""

from pathlib import Path

from cola_world.data.corpora import bring
from cola_world.data.simulate import SimulationPlan, simulate
from stages.entry import argument, counted, read_arguments, read_plan

OUT = Path("data/raw")

if __name__ == "__main__":
    corpus = argument("corpus")
    with counted(f"simulate_{corpus}"):
        brought = read_arguments(f"simulate/{corpus}").get("path")
        if brought:
            bring(brought, OUT / corpus)
        else:
            simulate(read_plan(SimulationPlan, f"simulate/{corpus}"), OUT / corpus)
