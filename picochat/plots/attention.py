"""Attention: which earlier tokens a head looks at. L: layers, H: heads, T: tokens."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from picochat.plots import style

SCALE = "Viridis"
"""Even in brightness, so that it reads alike for colour-blind eyes and on light and dark pages."""
GAP = 0.12
"""Room between two maps of the grid, as a share of a map."""


def attention_grid(
    attention_LHTT: np.ndarray, *, selected: tuple[int, int] | None = None, title: str = ""
) -> go.Figure:
    """Return the maps of all heads, a row per layer, as one small picture each.

    They are drawn as a single heatmap with gaps: many plots in one figure would be slow to repaint. Weights
    are shown by their square root, else all but the strongest would be black.
    """
    L, H, T, _ = attention_LHTT.shape
    pitch = T + max(1, round(GAP * T))
    canvas = np.full((L * pitch - (pitch - T), H * pitch - (pitch - T)), np.nan)
    for layer in range(L):
        for head in range(H):
            rows, columns = slice(layer * pitch, layer * pitch + T), slice(head * pitch, head * pitch + T)
            canvas[rows, columns] = _causal(np.sqrt(attention_LHTT[layer, head]))
    middle = (T - 1) / 2
    side = min(180, 960 // H)
    no_lines = {"showgrid": False, "zeroline": False, "showline": False, "fixedrange": True}
    figure = style.figure(
        x={
            "tickvals": [head * pitch + middle for head in range(H)],
            "ticktext": [f"head {head}" for head in range(H)],
            "side": "top",
            **no_lines,
        },
        y={
            "tickvals": [layer * pitch + middle for layer in range(L)],
            "ticktext": [f"layer {layer}" for layer in range(L)],
            "autorange": "reversed",
            **no_lines,
        },
        title=title,
        height=70 + L * side,
    )
    figure.update_layout(width=90 + H * side)
    figure.add_trace(
        go.Heatmap(z=_rounded(canvas), zmin=0, zmax=1, colorscale=SCALE, showscale=False, hoverinfo="skip")
    )
    if selected is not None:
        layer, head = selected
        left, top = head * pitch - 0.5 - 0.02 * T, layer * pitch - 0.5 - 0.02 * T
        size = T * 1.04
        figure.add_shape(
            type="rect",
            x0=left,
            x1=left + size,
            y0=top,
            y1=top + size,
            line={"color": style.PALETTE[5], "width": 3},
        )
    return figure


def attention_map(weights_TT: np.ndarray, tokens: Sequence[str], *, title: str = "") -> go.Figure:
    """Return one head's map: row by row, how each token shares its attention among those up to itself."""
    T = len(tokens)
    ticks = {
        "tickvals": list(range(T)),
        "ticktext": [style.label(token) for token in tokens],
        "showgrid": False,
        "zeroline": False,
    }
    side = min(max(T, 10) * 22, 620)
    figure = style.figure(
        x={**ticks, "tickangle": -60, "side": "bottom", "title": {"text": "is looked at"}},
        y={**ticks, "autorange": "reversed", "title": {"text": "looks", "standoff": 14}},
        title=title,
        height=side + 150,
    )
    figure.update_layout(width=side + 170)
    shown = [style.label(token) for token in tokens]
    figure.add_trace(
        go.Heatmap(
            z=_rounded(_causal(weights_TT)),
            zmin=0,
            zmax=1,
            colorscale=SCALE,
            colorbar={"thickness": 12, "tickformat": ".0%", "outlinewidth": 0, "ticklabeloverflow": "allow"},
            text=[[f"{shown[row]} → {shown[column]}" for column in range(T)] for row in range(T)],
            hovertemplate="%{text}<br>%{z:.1%}<extra></extra>",
        )
    )
    return figure


def _causal(weights_TT: np.ndarray) -> np.ndarray:
    """Return the weights with what no token can see, because it comes later, left out."""
    T = weights_TT.shape[0]
    return np.where(np.tri(T, dtype=bool), weights_TT, np.nan)


def _rounded(canvas: np.ndarray) -> np.ndarray:
    # Single precision goes to the browser in a quarter of the characters of a list.
    return np.round(canvas, 3).astype(np.float32)
