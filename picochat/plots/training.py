"""A run in training: what is marked on its curves, and the quantities that tell whether it is healthy."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from picochat.plots import style
from picochat.plots.curves import Curve, loss_figure

USUAL_RATIOS = {
    "embedding": 0.03,
    "head": 0.02,
    "scalars": 0.015,
    "residual scalars": 7e-5,
    "matrices": 0.02,
}
"""Length of an update over length of the weights, of each group, in a healthy run of the default
optimizer at its full learning rate (measured at depth 2, steps 40 to 150). The thousandth that is often named
(A. Karpathy, "makemore", part 3) is of plain gradient descent; Muon and these rates of AdamW go further."""


def mark_changes(figure: go.Figure, curve: Curve, marks: Sequence[tuple[int, str]]) -> go.Figure:
    """Mark steps on a curve of the figure, with a word each above it: (step, text). Returns the figure."""
    if marks and len(curve.steps):
        # Over the highest point, where no curve runs.
        top, middle = float(np.max(curve.values)), (curve.steps[0] + curve.steps[-1]) / 2
        for step, text in marks:
            figure.add_trace(
                go.Scatter(
                    x=[step, step],
                    y=[float(np.interp(step, curve.steps, curve.values)), top],
                    mode="lines+text",
                    text=["", style.label(text)],
                    textposition="middle right" if step < middle else "middle left",
                    line={"color": style.NEUTRAL, "dash": "dot", "width": 1},
                    showlegend=False,
                    cliponaxis=False,
                    hoverinfo="skip",
                )
            )
    return _mark(figure, curve, marks, name="changed by you", color=style.PALETTE[5], symbol="diamond")


def mark_place(figure: go.Figure, curve: Curve, step: int, text: str) -> go.Figure:
    """Mark the step that the rest of a page is about. Returns the figure."""
    return _mark(
        figure, curve, [(step, text)], name="shown below", color=style.PALETTE[3], symbol="circle-open"
    )


def ratio_figure(curves: Sequence[Curve], *, log_x: bool = False, height: int = 260) -> go.Figure:
    """Return update-to-weight ratios per parameter group, each beside a dotted line of what is usual."""
    figure = loss_figure(
        curves, smooth_over=1, y_title="update / weights", log_x=log_x, log_y=True, height=height
    )
    is_named = False
    for place, curve in enumerate(curves):
        if curve.name not in USUAL_RATIOS or len(curve.steps) < 2:
            continue
        figure.add_trace(
            go.Scatter(
                x=[curve.steps[0], curve.steps[-1]],
                y=[USUAL_RATIOS[curve.name]] * 2,
                mode="lines",
                line={"color": style.color(place), "dash": "dot", "width": 1},
                name="usual",
                legendgroup="usual",
                showlegend=not is_named,
                hoverinfo="skip",
            )
        )
        is_named = True
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
                mode="markers",
                text=[style.label(text) for _, text in marks],
                marker={"color": color, "symbol": symbol, "size": 12, "line": {"width": 2, "color": color}},
                name=name,
                cliponaxis=False,
                hovertemplate="step %{x}: %{text}<extra></extra>",
            )
        )
    return figure
