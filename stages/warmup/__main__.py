"""Warm up IDM, VQ and action AdaLN against the frozen pre-trained world model (paper 3.2, 3.3).

Reads the caches and runs/pretrain, writes runs/warmup with a snapshot at every forking point. Run: python -m stages.warmup
"""

from stages.run import main

if __name__ == "__main__":
    main("warmup")
