"""Train IDM, VQ and FDM by reconstruction: the first stage of the 2-stage baseline (paper B.3).

Reads data/clips, writes runs/lam. Run: python -m stages.lam
"""

from stages.run import main

if __name__ == "__main__":
    main("lam")
