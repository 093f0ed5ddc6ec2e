"""What is marked on curves, health curves, samples."""

import time
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from picochat.plots.answers import parts_html
from picochat.plots.curves import MAX_POINTS, Curve, loss_figure
from picochat.plots.samples import documents_html, parts_of, sample_html, thin_out
from picochat.plots.training import USUAL_RATIOS, mark_changes, mark_place, ratio_figure

CURVE = Curve(name="train", steps=[1, 2, 3, 4], values=[4.0, 3.0, 2.0, 1.0])


@pytest.mark.parametrize("is_log", [False, True])
def test_marks_stand_on_the_curve(is_log: bool):
    figure = loss_figure([CURVE], smooth_over=1, log_x=is_log, log_y=is_log)
    assert mark_changes(figure, CURVE, [(2, "lr ×0.5"), (3, "<b>")]) is figure
    mark_place(figure, CURVE, 4, "")
    _, first, second, changes, place = figure.data
    for step, label, trace in ((2, "lr ×0.5", first), (3, "&lt;b&gt;", second)):
        assert list(trace.x) == [step, step]
        assert (trace.y[1], list(trace.text)) == (4.0, ["", label]), "the word is over all of the curve"
    assert (list(changes.x), list(changes.y)) == ([2, 3], [3.0, 2.0])
    assert list(changes.text) == ["lr ×0.5", "&lt;b&gt;"]
    assert (list(place.x), list(place.y)) == ([4], [1.0])
    assert changes.marker.symbol != place.marker.symbol, "told apart without colour"
    assert not figure.layout.shapes


def test_nothing_is_marked_on_a_curve_that_is_not_there():
    figure = loss_figure([Curve(name="a", steps=[], values=[])])
    mark_changes(figure, Curve(name="a", steps=[], values=[]), [(2, "x")])
    mark_place(figure, CURVE, 2, "")
    assert [trace.name for trace in figure.data] == ["a", "shown below"]


def test_ratios_stand_beside_what_is_usual_in_their_group():
    curves = [
        Curve(name=name, steps=[1, 11], values=[0.1, 0.01])
        for name in ("head", "unknown", "residual scalars")
    ]
    figure = ratio_figure(curves)
    *ratios, head, scalars = figure.data
    assert [list(ratio.y) for ratio in ratios] == [[0.1, 0.01]] * 3
    assert (list(head.x), list(head.y)) == ([1, 11], [USUAL_RATIOS["head"]] * 2)
    assert list(scalars.y) == [USUAL_RATIOS["residual scalars"]] * 2
    assert [line.line.color for line in (head, scalars)] == [ratios[0].line.color, ratios[2].line.color]
    assert [line.showlegend for line in (head, scalars)] == [True, False], "one word for all"
    assert figure.layout.template.layout.yaxis.type == "log"
    assert len(ratio_figure([Curve(name="head", steps=[], values=[])]).data) == 1


def test_long_curves_are_drawn_quickly():
    """100,000 steps as the page draws them: thinned out, spikes kept, well within a repaint."""
    values = np.random.default_rng(0).normal(3, 0.1, 100_000)
    values[54_321] = 40.0
    curve = Curve(name="train", steps=np.arange(100_000), values=values)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        figure = mark_changes(loss_figure([curve], smooth_over=100), curve, [(500, "x")])
        size = len(figure.to_json())
        times.append(time.perf_counter() - began)
    assert min(times) < 0.5
    assert size < 200_000
    assert all(len(trace.x) <= MAX_POINTS for trace in figure.data)
    assert max(figure.data[0].y) == 40.0


class Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_samples_are_a_table_of_steps_and_prompts():
    nasty = '<script>alert("x")</script>\x1b[31m & "so"\non'
    source = sample_html([(0, "a", "x"), (0, "<b>", nasty), (20, "a", "y")])
    cells = Cells()
    cells.feed(source)
    shown = nasty.replace("\x1b", "\\u001b")
    assert cells.rows == [["step", "a …", "<b> …"], ["20", "y", ""], ["0", "x", shown]]
    assert cells.tags == {"div", "table", "tr", "th", "td"}


def test_documents_are_shown_as_they_are():
    source = documents_html(["<b>a</b>\nb", "x" * 500], most=400)
    assert "&lt;b&gt;a&lt;/b&gt;\nb</div>" in source
    assert f"{'x' * 400} …</div>" in source


def test_samples_show_parts_as_answers_do():
    call = "<|tool_call_start|>2+2<|tool_call_end|>"
    text = f"<|think_start|>I <add>.<|think_end|>{call}so\n4<|tool_result_start|>5"
    cells = Cells()
    cells.feed(source := sample_html([(1, "a", text)]))
    assert cells.rows[1][1] == "I <add>.2+2so\n4= 5"
    assert [part["type"] for part in parts_of(text)] == ["thinking", "tool_call", "text", "tool_result"]
    assert parts_html(parts_of(text)) in source
    stray = "no.<|tool_call_end|>0 times"
    assert parts_of(stray) == [{"type": "text", "text": stray}]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60, unique=True), st.integers(2, 12))
def test_thinning_keeps_the_ends(steps: list[int], most: int):
    steps.sort()
    kept = thin_out(steps, most)
    assert len(kept) == min(len(steps), most)
    assert (kept[0], kept[-1]) == (steps[0], steps[-1])
    assert kept == sorted(set(kept))
    assert set(kept) <= set(steps)
