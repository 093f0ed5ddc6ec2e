"""The table of speed targets: which rows there are, and when one is met."""

import importlib

import pytest

from tests.bench.table import Measured, Row, all_rows


def row(**changes) -> Row:
    options = {"what": "a", "against": "b", "target": 4, "cases": ("x", "y"), "group": "g"}
    return Row(value=lambda r: r["x"].rate / r["y"].rate, **{**options, **changes})


@pytest.mark.parametrize(
    ("at_most", "value", "met", "half_met"),
    [
        (False, 4, True, True),
        (False, 2, False, True),
        (False, 1.9, False, False),
        (True, 4, True, True),
        (True, 8, False, True),
        (True, 8.1, False, False),
    ],
)
def test_when_a_target_is_met(at_most, value, met, half_met):
    assert row(at_most=at_most).is_met(value) is met
    assert row(at_most=at_most).is_met(value, 0.5) is half_met


def test_what_the_memory_allows_is_enough():
    assert row().is_met(1.5, 0.5, most=3)
    assert not row().is_met(1.4, 0.5, most=3)
    assert not row().is_met(1.9, 0.5, most=30)


def test_a_rate_is_that_of_the_median():
    measured = Measured(amount=6, seconds=[1, 2, 30], memory=0)
    assert measured.rate == 3
    assert measured.best_rate == 6


def test_every_case_exists():
    rows = all_rows()
    assert len(rows) > 20
    for case in {case for row in rows for case in row.cases}:
        module, function = case.split(":")[0].split(".")
        pytest.importorskip("transformers")
        assert callable(getattr(importlib.import_module(f"tests.bench.{module}"), function))


def test_rows_divide_what_they_name():
    for line in all_rows():
        results = {case: Measured(amount=1, seconds=[1.0], memory=5) for case in line.cases}
        assert line.value(results) > 0
