"""Train the small video encoder that stands in for the public networks of FVD and LPIPS; what it gives has names of its own.

Reads runs/plan/encoder.json and data/clips, writes runs/encoder. Run: python -m stages.encoder
"""

from cola_world.metrics.encoder import save_encoder
from cola_world.metrics.encoder_training import EncoderPlan, train_encoder
from cola_world.running.progress import Bar
from stages.entry import HERE, counted, read_plan

if __name__ == "__main__":
    with counted("encoder"), Bar("encoder") as bar:
        save_encoder(train_encoder(HERE.clips, read_plan(EncoderPlan, "encoder"), bar.update), HERE.encoder)
