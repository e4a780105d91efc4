"""Probe the latent actions of a run's snapshots for the real actions of every corpus that shows them (paper C.1, Table 1).

Reads runs/plan/probe/<run>.json, data/clips and runs/<run>/snapshots, writes runs/probe/<run>.csv.
Run: python -m stages.probe <run>, for example `lam` (about a second a snapshot and corpus at `cpu` scale).
"""

import sys
from pathlib import Path

from cola_world.evaluation.probe_run import Inputs, ProbePlan, probe_run
from stages.cost import counted

PLANS, OUT = Path("runs/plan/probe"), Path("runs/probe")

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("probe: one run is needed: python -m stages.probe <run>")
    with counted(f"probe_{sys.argv[1]}"):
        plan = ProbePlan.model_validate_json((PLANS / f"{sys.argv[1]}.json").read_text())
        probe_run(plan, Inputs(Path("data/clips"), Path("runs")), OUT / f"{sys.argv[1]}.csv")
