"""The training loop, its stages and the run directory."""
