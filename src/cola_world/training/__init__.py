"""The phases as a table, the one training loop that reads it, and the life of a run."""
