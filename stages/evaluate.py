"""Measure the video prediction of a run on each group of corpora (paper Tables 2, 5, 6 and 7, Figures 4b and 7).

Reads runs/plan/evaluate/<run>.json, the caches, the VAE, the encoder and the run's snapshots, writes runs/evaluate/<run>.csv.
What was measured before is not measured again. Run: python -m stages.evaluate <run>
"""

from cola_world.evaluation.predict_runs import PredictionPlan, predict_run
from stages.entry import HERE, argument, counted, read_plan

if __name__ == "__main__":
    run = argument("run")
    with counted(f"evaluate_{run}"):
        predict_run(read_plan(PredictionPlan, f"evaluate/{run}"), HERE)
