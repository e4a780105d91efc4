"""One file for one box of the paper's Figure 1."""
