"""Metrics of tensors: codebook health, video metrics and their networks, intervals."""
