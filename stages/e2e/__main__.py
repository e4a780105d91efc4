"""Train LAM and world model jointly, from a warm-up or naively (paper 3.2, Figures 2 and 3).

Reads the caches and the parents' snapshots, writes runs/<run>. Run: python -m stages.e2e <run>, for example `e2e`,
`e2e_from_2000`, `naive_random`, `naive_pretrained_idm` or `both_random`.
"""

import sys

from stages.run import main

if __name__ == "__main__":
    main(sys.argv[1])
