"""Train the world model against a frozen latent action model: the second stage of the 2-stage baseline (paper B.3).

Reads the caches, runs/pretrain and runs/lam, writes runs/<run> of each run that is named; they train side by side. Run:
python -m stages.world_model wm_lam30k wm_lam8k
"""

import sys

from stages.run import main

if __name__ == "__main__":
    main(*sys.argv[1:])
