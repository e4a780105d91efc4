"""Measure what probes could read at best of every corpus: from pixels, and from an IDM that is taught the real actions.

Reads runs/plan/ceilings.json and data/clips, writes runs/ceilings/ceilings.csv. Run: python -m stages.ceilings
"""

from cola_world.evaluation.ceilings import CeilingPlan, measure_ceilings
from stages.entry import HERE, counted, read_plan

if __name__ == "__main__":
    with counted("ceilings"):
        measure_ceilings(read_plan(CeilingPlan, "ceilings"), HERE)
