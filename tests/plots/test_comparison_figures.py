"""What the figures of comparisons show."""

import pytest

from picochat.plots.comparison import (
    Agreement,
    agreement_figure,
    bits_figure,
    difference_figure,
    trend_figure,
)
from picochat.plots.scores import Point
from picochat.plots.tables import bar_html, table_html


def point(value: float, half: float = 0.1) -> Point:
    return Point(value=value, low=value - half, high=value + half, num_problems=20)


def test_agreement_is_stacked():
    tasks = {"arc": Agreement(both=4, first_only=1, second_only=2, neither=3)}
    figure = agreement_figure(tasks, first="<a>", second="b")
    assert [(bar.name, list(bar.x)) for bar in figure.data] == [
        ("both", [4]),
        ("only &lt;a&gt;", [1]),
        ("only b", [2]),
        ("neither", [3]),
    ]
    assert figure.layout.barmode == "stack"


def test_differences_stand_around_zero():
    zero, points = difference_figure({"arc": point(0.2), "qa": point(-0.4)}).data
    assert list(zero.x) == [0, 0]
    assert list(points.x) == pytest.approx([20, -40])
    assert list(points.error_x.array) == pytest.approx([10, 10])
    low, high = difference_figure({"qa": point(-0.4)}).layout.template.layout.xaxis.range
    assert low == -high
    assert high >= 50
    assert len(difference_figure({}).data[1].x or ()) == 0


def test_bits_and_their_intervals():
    (one, two) = bits_figure({"a": point(0.5), "b": point(0.4)}).data
    assert (list(one.x), list(two.x), list(two.text)) == ([0.5], [0.4], ["0.400"])
    assert list(one.error_x.arrayminus) == pytest.approx([0.1])


def test_trends_have_a_colour_per_task_and_a_dash_per_run():
    some = {"qa": [(100, point(0.1)), (200, point(0.3))], "arc": [(100, point(0.2))]}
    figure = trend_figure({"a": some, "b": {"arc": [(100, point(0.5))]}})
    assert [line.name for line in figure.data] == ["a: qa", "a: arc", "b: arc"]
    assert (list(figure.data[0].x), list(figure.data[0].y)) == ([100, 200], pytest.approx([10, 30]))
    assert figure.data[1].line.color == figure.data[2].line.color != figure.data[0].line.color
    assert figure.data[1].line.dash != figure.data[2].line.dash
    assert [line.name for line in trend_figure({"a": some}).data] == ["qa", "arc"]


def test_tables_escape_and_mark_parts():
    page = table_html(["<x>", "a"], [("whole", ["1 < 2"]), (" part", ["3"])])
    assert "<th>&lt;x&gt;</th>" in page
    assert '<tr class="whole"><td>whole</td><td>1 &lt; 2</td></tr>' in page
    assert '<tr class="part"><td>part</td><td>3</td></tr>' in page
    assert "width:25.0%" in bar_html(0.25)
