"""marimo notebooks, one per stage."""
