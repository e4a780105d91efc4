"""What a scale needs of a machine, and what is missing, before anything starts."""
