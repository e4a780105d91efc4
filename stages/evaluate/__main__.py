"""Measure the video prediction of runs on each group of corpora (paper Tables 2, 5, 6 and 7, Figures 4b and 7).

Reads runs/plan/evaluate, the caches, the VAE, the encoder and the runs' snapshots, writes runs/evaluate/<run>.csv. What was measured before
is not measured again. Run: python -m stages.evaluate
"""

from pathlib import Path

from cola_world.evaluation.prediction_run import Inputs, PredictionPlan, predict_runs
from stages.cost import counted

PLANS, OUT = Path("runs/plan/evaluate"), Path("runs/evaluate")
INPUTS = Inputs(
    clips=Path("data/clips"), latents=Path("data/latents"), vae=Path("runs/vae"), runs=Path("runs"),
    encoder=Path("runs/encoder/encoder.safetensors"), weights=Path("data/weights"),
)  # fmt: skip

if __name__ == "__main__":
    with counted("evaluate"):
        plans = [PredictionPlan.model_validate_json(path.read_text()) for path in sorted(PLANS.glob("*.json"))]
        predict_runs(plans, INPUTS, OUT)
