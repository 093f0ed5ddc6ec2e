"""What the model would say after each layer, and what it would say next. L: layers, T: tokens."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from picochat.plots import style
from picochat.plots.attention import SCALE


def lens_figure(
    guesses_LT: Sequence[Sequence[str]], probs_LT: np.ndarray, tokens: Sequence[str], *, title: str = ""
) -> go.Figure:
    """Return the logit lens: a row per layer (the last on top), a column per token; in each field the token
    that would come next if the model ended after that layer, coloured by its probability.

    Source: nostalgebraist, "interpreting GPT: the logit lens" (2020). Row 0 is the embedding.
    """
    rows, T = len(guesses_LT), len(tokens)
    labels = ["embedding", *(f"layer {layer}" for layer in range(rows - 1))]
    shown = [[style.label(guess) for guess in row] for row in guesses_LT]
    figure = style.figure(
        x={
            "tickvals": list(range(T)),
            "ticktext": [style.label(token) for token in tokens],
            "side": "bottom",
            "tickangle": -60 if T > 12 else 0,
            "showgrid": False,
            "zeroline": False,
        },
        y={"tickvals": list(range(rows)), "ticktext": labels, "showgrid": False, "zeroline": False},
        title=title,
        height=140 + 34 * rows,
    )
    figure.add_trace(
        go.Heatmap(
            z=np.round(probs_LT, 3).astype(np.float32),
            zmin=0,
            zmax=1,
            colorscale=SCALE,
            text=shown,
            texttemplate="%{text}" if T <= 24 else None,
            textfont={"size": 12},
            xgap=1,
            ygap=1,
            colorbar={"thickness": 12, "tickformat": ".0%", "outlinewidth": 0, "ticklabeloverflow": "allow"},
            hovertemplate="%{y}, after %{x}<br>next: %{text}<br>%{z:.1%}<extra></extra>",
        )
    )
    return figure


def next_token_figure(tokens: Sequence[str], probs: Sequence[float], *, title: str = "") -> go.Figure:
    """Return bars: the likeliest next tokens, the likeliest on top."""
    order = list(range(len(tokens)))
    shown = [style.label(token) for token in tokens]
    percent = [100 * float(prob) for prob in probs]
    figure = style.figure(
        x={"title": {"text": "probability, %"}, "range": [0, 105]},
        y={"tickvals": order, "ticktext": shown, "autorange": "reversed", "showgrid": False},
        title=title,
        height=110 + 24 * len(tokens),
    )
    figure.add_trace(
        go.Bar(
            x=percent,
            y=order,
            orientation="h",
            marker={"color": style.PALETTE[0]},
            text=[f"{value:.1f}" if value >= 0.05 else "<0.05" for value in percent],
            textposition="outside",
            cliponaxis=False,
            customdata=shown,
            hovertemplate="%{customdata}: %{x:.2f} %<extra></extra>",
        )
    )
    return figure
