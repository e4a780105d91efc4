"""Warm up IDM, VQ and action AdaLN against the frozen pre-trained world model (paper 3.2, 3.3).

Reads the caches and runs/pretrain, writes runs/<run> of each run that is named, with a snapshot at every forking point; they
train side by side. Run: python -m stages.warmup, which is `warmup`, or python -m stages.warmup pure_warmup warmup_b64 warmup_b96.
"""

import sys

from stages.run import main

if __name__ == "__main__":
    main(*sys.argv[1:] or ["warmup"])
