"""Train the small video encoder that stands in for the public networks of FVD and LPIPS; what it gives has names of its own.

Reads runs/plan/encoder.json and data/clips, writes runs/encoder. Run: python -m stages.encoder
"""

from pathlib import Path

from cola_world.evaluation.encoder import save_encoder
from cola_world.evaluation.encoder_training import EncoderPlan, train_encoder
from cola_world.progress import Bar
from stages.cost import counted

PLAN, OUT = Path("runs/plan/encoder.json"), Path("runs/encoder/encoder.safetensors")

if __name__ == "__main__":
    with counted("encoder"), Bar("encoder") as bar:
        save_encoder(train_encoder(Path("data/clips"), EncoderPlan.model_validate_json(PLAN.read_text()), bar.update), OUT)
