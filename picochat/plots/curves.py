"""Curves over the steps of training."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go

from picochat.plots import style

MAX_POINTS = 2000
"""Points of a curve that are drawn: about two per pixel of a wide figure."""
FEW_POINTS = 50
"""A curve of so few points shows each; a single one would not be seen as a line."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A quantity over steps."""

    name: str
    steps: Sequence[float] | np.ndarray
    """Increasing."""
    values: Sequence[float] | np.ndarray
    series: int | None = None
    """Which of the palette's colours it has; its place among the curves if not given."""
    is_measured: bool = False
    """Whether it is measured now and then, always on the same data: it has no noise to be smoothed away."""


def loss_figure(
    curves: Sequence[Curve],
    *,
    smooth_over: int = 20,
    y_title: str = "loss",
    log_x: bool = False,
    log_y: bool = False,
    title: str = "",
    height: int = 360,
) -> go.Figure:
    """Return the curves with every spike, each pale as it is and bold as a running mean.

    smooth_over: steps of the mean; 1 draws the values alone. What is measured, or has no value at most steps,
    is drawn as it is: a mean over far apart points would lag behind by hundreds of steps. Curves of over
    2,000 points are thinned out such that every peak and every dip stays (see `decimate`), after the mean was
    taken of all points. A logarithmic axis begins at step 1.
    """
    figure = style.figure(
        x={"title": {"text": "step"}, "type": "log" if log_x else "linear"},
        y={"title": {"text": style.label(y_title)}, "type": "log" if log_y else "linear"},
        title=title,
        height=height,
    )
    for place, curve in enumerate(curves):
        index = place if curve.series is None else curve.series
        steps_N, values_N = np.asarray(curve.steps, dtype=float), np.asarray(curve.values, dtype=float)
        is_smoothed = len(values_N) > smooth_over > 1 and not curve.is_measured and _is_dense(steps_N)
        lines = [(values_N, is_smoothed)]
        if is_smoothed:
            lines.append((running_mean(values_N, smooth_over), False))
        # On a logarithmic axis step 0 is infinitely far to the left, and a line would come from there.
        shown_N = steps_N > 0 if log_x else np.ones(len(steps_N), dtype=bool)
        for line_N, is_pale in lines:
            points = decimate(steps_N[shown_N], line_N[shown_N])
            figure.add_trace(_line(curve.name, index, *points, pale=is_pale))
    return figure


def _is_dense(steps_N: np.ndarray) -> bool:
    """Whether there is a value for more than half of the steps."""
    return len(steps_N) > (steps_N[-1] - steps_N[0]) / 2


def running_mean(values_N: np.ndarray, window: int) -> np.ndarray:
    """Return the mean of each value and up to `window - 1` before it."""
    assert window >= 1
    total_N1 = np.concatenate(([0.0], np.cumsum(values_N, dtype=np.float64)))
    stop_N = np.arange(1, len(values_N) + 1)
    start_N = np.maximum(stop_N - window, 0)
    return (total_N1[stop_N] - total_N1[start_N]) / (stop_N - start_N)


def decimate(x_N: np.ndarray, y_N: np.ndarray, max_points: int = MAX_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Return at most `max_points` of the points: of each of equal stretches the lowest and the highest.

    So a single spike among 100,000 points stays. The first and the last point are kept.
    """
    assert max_points >= 4
    n = len(y_N)
    if n <= max_points:
        return x_N, y_N
    bounds = np.linspace(0, n, (max_points - 2) // 2 + 1).astype(int)
    kept = {0, n - 1}
    for start, stop in pairwise(bounds):
        stretch = y_N[start:stop]
        kept |= {int(start + stretch.argmin()), int(start + stretch.argmax())}
    index = np.array(sorted(kept))
    return x_N[index], y_N[index]


def _line(name: str, index: int, x_N: np.ndarray, y_N: np.ndarray, *, pale: bool) -> go.Scatter:
    return go.Scatter(
        x=x_N,
        y=y_N,
        mode="lines+markers" if len(x_N) <= FEW_POINTS else "lines",
        name=style.label(name),
        legendgroup=str(index),
        showlegend=not pale,
        opacity=0.55 if pale else 1.0,
        line={"color": style.color(index), "width": 1 if pale else 2},
        hoverinfo="skip" if pale else None,
    )
