"""Joint training for as long as the paper has it, and what it is held against: a frozen LAM, smaller models, smaller batches.

Reads the caches, runs/pretrain and the warm-ups, writes runs/<run> of each run that is named; they train side by side, the
longest first. Run: python -m stages.scaling e2e_long frozen_lam depth_6 depth_12 depth_20 e2e_b64 e2e_b96 (paper 4.2, 4.3, D.6).
"""

import sys

from stages.run import main

if __name__ == "__main__":
    main(*sys.argv[1:])
