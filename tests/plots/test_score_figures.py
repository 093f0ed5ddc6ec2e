"""What the score figures show: values, intervals, rows, bins."""

import numpy as np
import pytest

from picochat.plots.scores import (
    Bin,
    Point,
    calibration_bins,
    calibration_error,
    calibration_figure,
    score_figure,
)
from picochat.plots.style import PALETTE


def point(value: float) -> Point:
    return Point(value=value, low=value - 0.1, high=value + 0.05, num_problems=40)


def test_scores_stand_in_their_rows_with_their_intervals():
    scores = {"<b>old": {"arc": point(0.5), "qa": point(0.6)}, "new": {"qa": point(0.7), "tools": point(0.2)}}
    figure = score_figure(scores, chance={"arc": 0.25, "mmlu": 0.25})
    old, new, chance = figure.data
    axis = figure.layout.template.layout.yaxis
    assert list(axis.ticktext) == ["arc", "qa", "tools"]
    assert axis.range[0] > axis.range[1], "the first row is on top"
    assert (old.name, new.name) == ("&lt;b&gt;old", "new")
    assert list(old.x) == pytest.approx([50, 60])
    assert list(old.error_x.array) == pytest.approx([5, 5])
    assert list(old.error_x.arrayminus) == pytest.approx([10, 10])
    assert [round(y) for y in old.y] == [0, 1]
    assert [round(y) for y in new.y] == [1, 2]
    assert old.y[1] < new.y[0], "models of a row do not cover each other"
    assert old.marker.symbol != new.marker.symbol
    assert (list(chance.x), list(chance.y), chance.name) == ([25.0], [0], "chance")
    assert [(round(low), round(high), n) for low, high, n in old.customdata] == [(40, 55, 40), (50, 65, 40)]


def test_bins_hold_each_answer_once():
    confidences = [0.0, 0.09, 0.55, 0.55, 0.59, 1.0]
    bins = calibration_bins(confidences, [0, 1, 1, 0, 1, 1])
    assert [bin.count for bin in bins] == [2, 3, 1]
    assert [bin.accuracy for bin in bins] == pytest.approx([0.5, 2 / 3, 1.0])
    assert [bin.confidence for bin in bins] == pytest.approx([0.045, 0.5633333, 1.0])
    expected = (2 * 0.455 + 3 * abs(2 / 3 - 0.5633333) + 0) / 6
    assert calibration_error(bins) == pytest.approx(expected)


def test_a_calibrated_model_lies_on_the_diagonal():
    rng = np.random.default_rng(0)
    confidence_N = rng.uniform(0.2, 1, 50_000)
    right_N = rng.uniform(size=50_000) < confidence_N
    bins = calibration_bins(confidence_N, right_N)
    assert calibration_error(bins) < 0.01
    always_sure = calibration_bins(np.ones(50_000), right_N)
    assert calibration_error(always_sure) == pytest.approx(0.4, abs=0.01)


def test_calibration_figure_shows_the_bins():
    bins = [Bin(confidence=0.3, accuracy=0.5, count=10), Bin(confidence=0.9, accuracy=0.8, count=40)]
    diagonal, model = calibration_figure({"a": bins}).data
    assert (list(diagonal.x), list(diagonal.y)) == ([0, 100], [0, 100])
    assert (list(model.x), list(model.y)) == ([30, 90], [50, 80])
    assert list(model.customdata) == [10, 40]
    assert model.name == "a (error 12.0 %)"


def test_palette_can_be_told_apart_from_light_and_dark_pages():
    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert len(set(PALETTE)) == 7
    for color in PALETTE:
        light = (1 + 0.05) / (luminance(color) + 0.05)
        dark = (luminance(color) + 0.05) / (luminance("#111111") + 0.05)
        assert min(light, dark) >= 2, (color, light, dark)
