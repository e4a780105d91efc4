"""The steps of the paper, one folder each. Every entry runs from the repository's root: `python -m stages.<name>`."""
