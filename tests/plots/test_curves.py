"""What the curve figures show, point by point."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from picochat.plots.curves import MAX_POINTS, Curve, decimate, loss_figure, running_mean
from picochat.plots.style import PALETTE


def test_short_curves_are_drawn_as_they_are():
    figure = loss_figure([Curve(name="a", steps=[1, 2, 5], values=[3.0, 2.0, 2.5])])
    (line,) = figure.data
    assert (list(line.x), list(line.y)) == ([1, 2, 5], [3.0, 2.0, 2.5])
    assert (line.name, line.showlegend, line.line.color) == ("a", True, PALETTE[0])
    assert line.mode == "lines+markers"


def test_long_curves_show_each_spike_and_the_mean_of_all_points():
    n = 100_000
    values = np.sin(np.arange(n) / 5000)
    values[[12_345, 77_777]] = 50, -50
    figure = loss_figure([Curve(name="a", steps=range(n), values=values)] * 2, smooth_over=100)
    assert [line.showlegend for line in figure.data] == [False, True, False, True]
    assert [line.line.color for line in figure.data] == [PALETTE[0]] * 2 + [PALETTE[1]] * 2
    raw, mean = figure.data[:2]
    assert all(len(line.x) <= MAX_POINTS for line in figure.data)
    points = dict(zip(raw.x, raw.y, strict=True))
    assert (points[12_345], points[77_777], points[0]) == (50, -50, 0)
    assert max(raw.x) == n - 1
    expected = running_mean(values, 100)
    assert all(y == expected[int(x)] for x, y in zip(mean.x, mean.y, strict=True))
    assert max(mean.y) == max(expected)


def test_only_what_has_noise_is_smoothed():
    """A mean over validations every 25 steps would lag behind by hundreds of steps."""
    sparse = Curve(name="sparse", steps=range(0, 1000, 25), values=range(40))
    measured = Curve(name="measured", steps=range(40), values=range(40), is_measured=True)
    noisy = Curve(name="noisy", steps=range(40), values=range(40))
    figure = loss_figure([sparse, measured, noisy], smooth_over=10)
    assert [line.name for line in figure.data] == ["sparse", "measured", "noisy", "noisy"]
    for line, curve in zip(figure.data, (sparse, measured, noisy), strict=False):
        assert (list(line.x), list(line.y)) == (list(curve.steps), list(curve.values))
    assert [line.opacity for line in figure.data] == [1, 1, 0.55, 1]


def test_a_logarithmic_axis_begins_at_step_1():
    """Plotly draws a line from the left edge to the first point where step 0 is given."""
    curve = Curve(name="a", steps=[0, 25, 50], values=[7.0, 3.0, 2.0])
    (line,) = loss_figure([curve], log_x=True).data
    assert (list(line.x), list(line.y)) == ([25, 50], [3.0, 2.0])


def test_zoom_survives_repaints():
    figure = loss_figure([Curve(name="a", steps=[1], values=[1.0])], y_title="bits <per> byte", log_x=True)
    layout = figure.to_plotly_json()["layout"]
    assert layout["uirevision"]
    assert {"xaxis", "yaxis"}.isdisjoint(layout)
    template = figure.layout.template.layout
    assert (template.xaxis.type, template.yaxis.type) == ("log", "linear")
    assert template.yaxis.title.text == "bits &lt;per&gt; byte"


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.integers(1, 12))
def test_running_mean_is_the_mean_of_the_last_values(values: list[float], window: int):
    found = running_mean(np.array(values), window)
    for i, mean in enumerate(found):
        assert mean == pytest.approx(np.mean(values[max(0, i - window + 1) : i + 1]), rel=1e-9, abs=1e-6)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(4, 60))
def test_decimation_keeps_ends_and_extremes(values: list[float], max_points: int):
    x_N, y_N = np.arange(len(values)), np.array(values)
    x, y = decimate(x_N, y_N, max_points)
    assert len(x) <= max_points
    assert len(x) >= min(len(values), max_points // 2)
    assert (np.diff(x) > 0).all()
    assert (y == y_N[x]).all()
    assert (x[0], x[-1], y.min(), y.max()) == (0, len(values) - 1, y_N.min(), y_N.max())
