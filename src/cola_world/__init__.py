"""CoLA-World re-derived: co-evolving latent action models and video diffusion world models."""

__version__ = "0.1.0"
