"""The phases as a table, the one training loop that reads it, and what makes it restartable."""
