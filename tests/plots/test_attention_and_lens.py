"""Attention maps, logit lens and next tokens: what is drawn is what was computed, text stays text."""

import numpy as np
import plotly.graph_objects as go
import pytest

from picochat.plots.attention import attention_grid, attention_map
from picochat.plots.lens import lens_figure, next_token_figure


def random_attention(L: int, H: int, T: int) -> np.ndarray:
    weights = np.tril(np.random.default_rng(0).random((L, H, T, T)) + 0.01)
    return weights / weights.sum(-1, keepdims=True)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (4, 4, 20)])
def test_each_map_stands_in_its_place(shape):
    L, H, T = shape
    attention_LHTT = random_attention(L, H, T)
    figure = attention_grid(attention_LHTT, selected=(L - 1, H - 1))
    (grid,) = figure.data
    canvas = np.asarray(grid.z, dtype=float)
    rows = figure.layout.template.layout.yaxis
    columns = figure.layout.template.layout.xaxis
    assert list(rows.ticktext) == [f"layer {layer}" for layer in range(L)]
    assert list(columns.ticktext) == [f"head {head}" for head in range(H)]
    past = np.tri(T, dtype=bool)
    seen = 0
    for layer, y in enumerate(rows.tickvals):
        for head, x in enumerate(columns.tickvals):
            top, left = round(y - (T - 1) / 2), round(x - (T - 1) / 2)
            part = canvas[top : top + T, left : left + T]
            assert np.isnan(part[~past]).all()
            np.testing.assert_allclose(part[past] ** 2, attention_LHTT[layer, head][past], atol=2e-3)
            seen += past.sum()
    assert np.isfinite(canvas).sum() == seen, "nothing between the maps"
    (box,) = figure.layout.shapes
    assert box.x0 < columns.tickvals[-1] < box.x1
    assert box.y0 < rows.tickvals[-1] < box.y1


def test_one_map_says_who_looks_at_whom():
    weights = random_attention(1, 1, 3)[0, 0]
    figure = attention_map(weights, ["<b>", "x", "x"], title="<i>head</i>")
    (heatmap,) = figure.data
    z = np.asarray(heatmap.z, dtype=float)
    np.testing.assert_allclose(np.nan_to_num(z), weights, atol=1e-3)
    assert heatmap.text[2][0] == "x → &lt;b&gt;"
    for axis in (figure.layout.template.layout.xaxis, figure.layout.template.layout.yaxis):
        assert list(axis.ticktext) == ["&lt;b&gt;", "x", "x"]
    assert figure.layout.title.text == "&lt;i&gt;head&lt;/i&gt;"


def test_the_lens_has_a_row_per_layer():
    guesses = [["a", "<br>"], ["b", "c"], ["d", "e"]]
    probs = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.9]])
    figure = lens_figure(guesses, probs, ["x", "y"])
    (heatmap,) = figure.data
    assert heatmap.text[0][1] == "&lt;br&gt;"
    np.testing.assert_allclose(heatmap.z, probs, atol=1e-3)
    assert list(figure.layout.template.layout.yaxis.ticktext) == ["embedding", "layer 0", "layer 1"]
    assert heatmap.texttemplate == "%{text}"
    long = lens_figure([["a"] * 40] * 2, np.zeros((2, 40)), ["t"] * 40)
    assert long.data[0].texttemplate is None, "so many words would overlap"


def test_the_likeliest_is_on_top():
    figure = next_token_figure(["<b>", "·x"], [0.75, 0.0001])
    (bars,) = figure.data
    assert list(bars.x) == pytest.approx([75, 0.01])
    assert list(bars.text) == ["75.0", "<0.05"]
    axis = figure.layout.template.layout.yaxis
    assert (axis.autorange, list(axis.ticktext)) == ("reversed", ["&lt;b&gt;", "·x"])


@pytest.mark.parametrize(
    "figure",
    [
        attention_grid(random_attention(2, 2, 4), selected=(0, 1)),
        attention_map(random_attention(1, 1, 4)[0, 0], list("abcd")),
        lens_figure([["a"]], np.array([[0.5]]), ["a"]),
        next_token_figure(["a"], [1.0]),
    ],
)
def test_zoom_survives_repaints(figure: go.Figure):
    layout = figure.to_plotly_json()["layout"]
    assert layout["uirevision"]
    assert {"xaxis", "yaxis"}.isdisjoint(layout)


def test_large_maps_stay_small_on_the_wire():
    """All maps of a 12-layer model on 64 tokens: far under marimo's limit of 8 MB for an output."""
    figure = attention_grid(random_attention(12, 12, 64))
    assert len(figure.to_json()) < 5_000_000
