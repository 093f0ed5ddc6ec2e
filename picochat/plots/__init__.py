"""Figures: pure functions from data to plotly figures, used by the notebooks and by reports."""
