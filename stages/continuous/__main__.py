"""Continuous latent actions: a VAE bottleneck in the quantiser's place, 2-stage and joint (paper D.5, Table 6).

Reads the caches and the parents' snapshots, writes runs/<run> of each run that is named; they train side by side. Run:
python -m stages.continuous continuous_lam continuous_warmup, and then continuous_2stage continuous_joint.
"""

import sys

from stages.run import main

if __name__ == "__main__":
    main(*sys.argv[1:])
