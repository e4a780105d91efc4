"""Probe the latent actions of a run's snapshots for the real actions of every corpus that shows them (paper C.1, Table 1).

Reads runs/plan/probe/<run>.json, data/clips and runs/<run>/snapshots, writes runs/probe/<run>.csv.
Run: python -m stages.probe <run>, for example `lam` (about a second a snapshot and corpus at `cpu` scale).
"""

from cola_world.evaluation.probe_runs import ProbePlan, probe_run
from stages.entry import HERE, argument, counted, read_plan

if __name__ == "__main__":
    run = argument("run")
    with counted(f"probe_{run}"):
        probe_run(read_plan(ProbePlan, f"probe/{run}"), HERE)
