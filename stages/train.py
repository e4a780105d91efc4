"""Train rows of the runs table, with all their seeds (paper 3.1 to 3.3, 4, B.3, D.4 to D.6).

Reads the caches and the parents' snapshots, writes runs/<run>; runs that are named together train side by side and must not
depend on each other. A run whose profile names public weights in its place is taken from these.
Run: python -m stages.train <run> [<run> ...], for example `lam`, `warmup` or `naive_random`.
"""

import sys

from cola_world.training.plan import RunPlan
from cola_world.training.public_prior import take_public
from cola_world.training.runs import train_runs
from stages.entry import HERE, read_plan, working

if __name__ == "__main__":
    runs = sys.argv[1:] or sys.exit("train: a run is needed: python -m stages.train <run> [<run> ...]")
    with working(", ".join(runs)):
        plans = [read_plan(RunPlan, run) for run in runs]
        for plan in plans:
            if plan.public:
                take_public(plan, HERE)
        if trained := [plan for plan in plans if not plan.public]:
            train_runs(trained, HERE)
