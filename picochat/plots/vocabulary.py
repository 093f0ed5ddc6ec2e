"""What a vocabulary is worth: compression, how often its tokens are used, what they are made of."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from picochat.plots import style
from picochat.plots.token_boxes import visible

if TYPE_CHECKING:
    from picochat.tokenizer.study import Part
    from picochat.tokenizer.tokenizer import Tokenizer

MAX_POINTS = 300
"""Points of a curve that are drawn."""


def compression_figure(
    sizes: Sequence[int], ratios: Mapping[str, np.ndarray], *, at: int | None = None, title: str = ""
) -> go.Figure:
    """Return bytes per token over vocabulary size, a line per kind of text.

    ratios: kind -> bytes per token at each of `sizes`. at: the size that is marked.
    """
    figure = style.figure(
        x={"title": {"text": "ids in the vocabulary"}, "type": "log"},
        y={"title": {"text": "bytes per token"}, "rangemode": "tozero"},
        title=title,
    )
    kept_K = _thinned(len(sizes))
    for index, (name, ratio_S) in enumerate(ratios.items()):
        figure.add_trace(
            go.Scatter(
                x=np.asarray(sizes)[kept_K],
                y=np.round(ratio_S[kept_K], 4),
                mode="lines",
                name=style.label(name),
                line={"color": style.color(index), "width": 2},
                hovertemplate="%{x:,} ids: %{y:.2f} bytes per token<extra>%{fullData.name}</extra>",
            )
        )
    if at is not None and ratios:
        top = max(float(ratio_S.max()) for ratio_S in ratios.values())
        figure.add_trace(
            go.Scatter(
                x=[at, at],
                y=[0, top],
                mode="lines",
                name=f"{at:,} ids",
                line={"color": style.NEUTRAL, "dash": "dot", "width": 1.5},
                hoverinfo="skip",
            )
        )
    return figure


def kinds_figure(ratios: Mapping[str, Mapping[str, float]], *, title: str = "") -> go.Figure:
    """Return bars of bytes per token: ratios[tokenizer][kind of text]."""
    kinds = list(dict.fromkeys(kind for some in ratios.values() for kind in some))
    figure = style.figure(
        x={"title": {"text": "bytes per token"}, "rangemode": "tozero"},
        y={"autorange": "reversed", "ticks": "", "showgrid": False},
        title=title,
        height=100 + len(kinds) * (18 + 16 * len(ratios)),
    )
    for index, (name, some) in enumerate(ratios.items()):
        figure.add_trace(
            go.Bar(
                x=[round(value, 3) for value in some.values()],
                y=[style.label(kind) for kind in some],
                orientation="h",
                name=style.label(name),
                marker={"color": style.color(index)},
                texttemplate="%{x:.2f}",
                textposition="outside",
                cliponaxis=False,
                hovertemplate="%{y}: %{x:.2f} bytes per token<extra>%{fullData.name}</extra>",
            )
        )
    return figure


def frequency_figure(tokenizer: "Tokenizer", uses_V: np.ndarray, *, title: str = "") -> go.Figure:
    """Return how often tokens occur, the most frequent first, on logarithmic axes (Zipf's view)."""
    order_V = np.argsort(-uses_V, kind="stable")
    order_U = order_V[: int((uses_V > 0).sum())]
    figure = style.figure(
        x={"title": {"text": "rank of the token"}, "type": "log"},
        y={"title": {"text": "times in the text"}, "type": "log"},
        title=title,
    )
    kept_K = _thinned(len(order_U))
    figure.add_trace(
        go.Scatter(
            x=kept_K + 1,
            y=uses_V[order_U[kept_K]],
            mode="lines+markers",
            name="tokens",
            showlegend=False,
            line={"color": style.color(0), "width": 1.5},
            marker={"size": 4},
            customdata=[
                [style.label(visible(tokenizer.token_bytes(int(id)))), int(id)] for id in order_U[kept_K]
            ],
            hovertemplate="%{customdata[0]}  (id %{customdata[1]})<br>rank %{x:,}, %{y:,} times"
            "<extra></extra>",
        )
    )
    return figure


def length_figure(tokenizer: "Tokenizer", uses_V: np.ndarray, *, title: str = "") -> go.Figure:
    """Return for each length in bytes its share of the vocabulary and its share of the tokens of a text."""
    lengths_V = np.asarray(tokenizer.num_bytes)
    longest = int(lengths_V.max())
    own_L = np.bincount(lengths_V, minlength=longest + 1)[1:]
    used_L = np.bincount(lengths_V, weights=uses_V, minlength=longest + 1)[1:]
    figure = style.figure(
        x={"title": {"text": "length in bytes"}, "dtick": 1 if longest < 25 else 5},
        y={"title": {"text": "%"}, "rangemode": "tozero"},
        title=title,
    )
    shares = {
        "of the vocabulary": own_L / max(own_L.sum(), 1),
        "of the text's tokens": used_L / max(used_L.sum(), 1),
    }
    for index, (name, share_L) in enumerate(shares.items()):
        figure.add_trace(
            go.Bar(
                x=list(range(1, longest + 1)),
                y=np.round(100 * share_L, 3),
                name=name,
                marker={"color": style.color(index)},
                hovertemplate="%{x} bytes: %{y:.1f} %<extra>%{fullData.name}</extra>",
            )
        )
    return figure


def ancestry_figure(tokenizer: "Tokenizer", parts: "Sequence[Part]", *, title: str = "") -> go.Figure:
    """Return a token over the two it was merged of, those over theirs, down to bytes.

    parts: see `picochat.tokenizer.study.ancestry`. A part is as wide as it has bytes.
    """
    figure = style.figure(title=title, height=max(180, 60 + 42 * _depth(parts)))
    figure.add_trace(
        go.Icicle(
            ids=[str(index) for index in range(len(parts))],
            labels=[style.label(visible(tokenizer.token_bytes(part.id))) for part in parts],
            parents=["" if part.parent is None else str(part.parent) for part in parts],
            values=[tokenizer.num_bytes[part.id] for part in parts],
            customdata=[part.id for part in parts],
            branchvalues="total",
            sort=False,
            tiling={"orientation": "v"},
            leaf={"opacity": 1},
            marker={"colors": [style.color(part.id * 3 + part.id // 7) for part in parts]},
            texttemplate="%{label}<br>%{customdata}",
            textfont={"color": "#111111"},
            hovertemplate="%{label}  id %{customdata}, %{value} bytes<extra></extra>",
        )
    )
    figure.update_layout(margin={"l": 0, "r": 0, "b": 0, "t": 40 if title else 8})
    return figure


def _depth(parts: "Sequence[Part]") -> int:
    depths: list[int] = []
    for part in parts:
        depths.append(1 if part.parent is None else depths[part.parent] + 1)
    return max(depths)


def _thinned(count: int) -> np.ndarray:
    """Return at most `MAX_POINTS` indices below `count`: first and last, and densest at the start."""
    if count <= MAX_POINTS:
        return np.arange(count)
    return np.unique(np.geomspace(1, count, MAX_POINTS).round().astype(int)) - 1
