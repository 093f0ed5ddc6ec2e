"""Scores of models: with their intervals, and how well confidence tells right from wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from picochat.plots import style


@dataclass(frozen=True, kw_only=True)
class Point:
    """A score from 0 to 1 with its interval."""

    value: float
    low: float
    high: float
    num_problems: int


@dataclass(frozen=True, kw_only=True)
class Bin:
    """The answers of a model that were given with about the same confidence."""

    confidence: float
    """Mean confidence, 0 to 1."""
    accuracy: float
    count: int


def score_figure(
    scores: Mapping[str, Mapping[str, Point]],
    *,
    chance: Mapping[str, float] | None = None,
    title: str = "",
) -> go.Figure:
    """Return a point with its interval per model and row: scores[model][row], rows from the top.

    chance: the score of guessing of the rows that have one, drawn as a short line.
    """
    rows = list(dict.fromkeys(row for points in scores.values() for row in points))
    height = 90 + len(rows) * (24 + 16 * len(scores))
    figure = style.figure(
        x={"title": {"text": "score, %"}, "range": [-2, 102]},
        y={
            "tickvals": list(range(len(rows))),
            "ticktext": [style.label(row) for row in rows],
            "range": [len(rows) - 0.5, -0.5],
            "zeroline": False,
        },
        title=title,
        height=height,
    )
    for index, (model, points) in enumerate(scores.items()):
        shift = (index - (len(scores) - 1) / 2) * 0.6 / max(len(scores), 1)
        figure.add_trace(_points(model, index, points, [rows.index(row) + shift for row in points]))
    drawn = {rows.index(row): value for row, value in (chance or {}).items() if row in rows}
    if drawn:
        figure.add_trace(
            go.Scatter(
                x=[100 * value for value in drawn.values()],
                y=list(drawn),
                mode="markers",
                name="chance",
                marker={"symbol": "line-ns-open", "size": 22, "color": style.NEUTRAL, "line": {"width": 2}},
                hovertemplate="chance %{x:.1f} %<extra></extra>",
            )
        )
    return figure


def interval_bars(points: Sequence[Point], scale: float, thickness: float = 1.5) -> dict[str, Any]:
    """Return plotly's error bars of points whose values are drawn `scale` times as large."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [scale * (point.high - point.value) for point in points],
        "arrayminus": [scale * (point.value - point.low) for point in points],
        "thickness": thickness,
    }


def _points(model: str, index: int, points: Mapping[str, Point], heights: Sequence[float]) -> go.Scatter:
    some = points.values()
    return go.Scatter(
        x=[100 * point.value for point in some],
        y=list(heights),
        mode="markers",
        name=style.label(model),
        marker={"color": style.color(index), "symbol": style.symbol(index), "size": 9},
        error_x=interval_bars(list(some), 100),
        customdata=[[100 * point.low, 100 * point.high, point.num_problems] for point in some],
        hovertemplate="%{x:.1f} % [%{customdata[0]:.1f}, %{customdata[1]:.1f}] of "
        "%{customdata[2]} problems<extra>%{fullData.name}</extra>",
    )


def calibration_bins(confidences: Sequence[float], credits: Sequence[float], num_bins: int = 10) -> list[Bin]:
    """Return the bins of equal width that hold an answer, from unsure to sure."""
    confidence_N, credit_N = np.asarray(confidences, dtype=float), np.asarray(credits, dtype=float)
    bin_N = np.minimum((confidence_N * num_bins).astype(int), num_bins - 1)
    return [
        Bin(
            confidence=float(confidence_N[bin_N == b].mean()),
            accuracy=float(credit_N[bin_N == b].mean()),
            count=int((bin_N == b).sum()),
        )
        for b in np.unique(bin_N)
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error: how far accuracy is from confidence, mean over all answers.

    Guo et al. 2017, arXiv 1706.04599.
    """
    total = sum(bin.count for bin in bins)
    return sum(bin.count * abs(bin.accuracy - bin.confidence) for bin in bins) / total


def calibration_figure(models: Mapping[str, Sequence[Bin]], *, title: str = "") -> go.Figure:
    """Return accuracy over confidence per model; on the diagonal a model is as sure as it is right.

    The area of a marker is the bin's share of all answers; the legend names the calibration error.
    """
    side = {"range": [0, 102]}
    figure = style.figure(
        x={"title": {"text": "confidence, %"}, **side},
        y={"title": {"text": "right, %"}, **side},
        title=title,
        height=380,
    )
    figure.add_trace(
        go.Scatter(
            x=[0, 100],
            y=[0, 100],
            mode="lines",
            line={"color": style.NEUTRAL, "dash": "dot", "width": 1},
            showlegend=False,
            hoverinfo="skip",
        )
    )
    for index, (model, bins) in enumerate(models.items()):
        total = sum(bin.count for bin in bins)
        figure.add_trace(
            go.Scatter(
                x=[100 * bin.confidence for bin in bins],
                y=[100 * bin.accuracy for bin in bins],
                mode="lines+markers",
                name=f"{style.label(model)} (error {100 * calibration_error(bins):.1f} %)",
                line={"color": style.color(index), "width": 1.5},
                marker={
                    "symbol": style.symbol(index),
                    "size": [5 + 25 * (bin.count / total) ** 0.5 for bin in bins],
                },
                customdata=[bin.count for bin in bins],
                hovertemplate="sure by %{x:.0f} %, right in %{y:.0f} % of %{customdata} answers"
                "<extra>%{fullData.name}</extra>",
            )
        )
    return figure
