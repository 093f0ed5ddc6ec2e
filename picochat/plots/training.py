"""A run in training: what is marked on its curves, and the quantities that tell whether it is healthy."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from picochat.plots import style
from picochat.plots.curves import Curve, loss_figure

HEALTHY_RATIO = 1e-3
"""Length of an update over length of the weights that is about right (A. Karpathy, "makemore", part 3)."""


def mark_changes(figure: go.Figure, curve: Curve, marks: Sequence[tuple[int, str]]) -> go.Figure:
    """Mark steps on a curve of the figure, with a word each: (step, text). Returns the figure."""
    return _mark(figure, curve, marks, name="changed", color=style.PALETTE[5], symbol="diamond")


def mark_place(figure: go.Figure, curve: Curve, step: int, text: str) -> go.Figure:
    """Mark the step that the rest of a page is about. Returns the figure."""
    return _mark(
        figure, curve, [(step, text)], name="shown below", color=style.PALETTE[3], symbol="circle-open"
    )


def ratio_figure(curves: Sequence[Curve], *, log_x: bool = False, height: int = 260) -> go.Figure:
    """Return update-to-weight ratios per parameter group, beside the line of what is about right."""
    figure = loss_figure(
        curves, smooth_over=1, y_title="update / weights", log_x=log_x, log_y=True, height=height
    )
    steps = [step for curve in curves for step in curve.steps]
    if steps:
        figure.add_trace(
            go.Scatter(
                x=[min(steps), max(steps)],
                y=[HEALTHY_RATIO] * 2,
                mode="lines",
                line={"color": style.NEUTRAL, "dash": "dot", "width": 1},
                name="about right",
                hoverinfo="skip",
            )
        )
    return figure


def _mark(
    figure: go.Figure, curve: Curve, marks: Sequence[tuple[int, str]], *, name: str, color: str, symbol: str
) -> go.Figure:
    # Points, not lines over the whole height: those would take part in the range of a logarithmic axis.
    if marks and len(curve.steps):
        at = [step for step, _ in marks]
        figure.add_trace(
            go.Scatter(
                x=at,
                y=np.interp(at, curve.steps, curve.values),
                mode="markers+text",
                text=[style.label(text) for _, text in marks],
                textposition="top center",
                marker={"color": color, "symbol": symbol, "size": 12, "line": {"width": 2, "color": color}},
                name=name,
                cliponaxis=False,
                hovertemplate="step %{x}: %{text}<extra></extra>",
            )
        )
    return figure
