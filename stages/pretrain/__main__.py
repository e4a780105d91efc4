"""Pre-train STDiT3 on video alone, bidirectional in time: the stand-in for the public OpenSora checkpoint (paper B.2).

Reads data/clips and data/latents, writes runs/pretrain. Run: python -m stages.pretrain
"""

from stages.run import main

if __name__ == "__main__":
    main("pretrain")
