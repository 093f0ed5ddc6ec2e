"""Confidence intervals against published values, closed forms and their promised coverage."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picochat.eval.intervals import bootstrap_interval, normal_interval, wilson_interval


@pytest.mark.parametrize(
    ("num_right", "num_all", "low", "high"),
    # Newcombe 1998 (doi 10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_equals_newcombes_table(num_right: int, num_all: int, low: float, high: float):
    interval = wilson_interval(num_right, num_all)
    assert interval == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500), st.data())
def test_wilson_holds_the_share_and_mirrors(num_all: int, data: st.DataObject):
    num_right = data.draw(st.integers(0, num_all))
    low, high = wilson_interval(num_right, num_all)
    assert 0 <= low <= num_right / num_all <= high <= 1
    assert low < high
    mirrored = wilson_interval(num_all - num_right, num_all)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)
    wider = wilson_interval(num_right, num_all, confidence=0.99)
    assert wider.low <= low
    assert high <= wider.high


def test_wilson_covers_the_truth_as_often_as_it_says():
    rng = random.Random(1)
    for truth in (0.1, 0.5, 0.9):
        hits = 0
        for _ in range(2000):
            low, high = wilson_interval(sum(rng.random() < truth for _ in range(60)), 60)
            hits += low <= truth <= high
        assert 0.92 < hits / 2000 < 0.98


def test_normal_interval_is_the_closed_form():
    # mean 3, sample variance 2.5, n 5: 1.959964 * sqrt(0.5) = 1.385903
    assert normal_interval([1, 2, 3, 4, 5]) == pytest.approx((3 - 1.385903, 3 + 1.385903), abs=1e-6)


def test_bootstrap_agrees_with_normal_on_many_values_and_repeats():
    rng = random.Random(2)
    values = [rng.random() for _ in range(400)]
    interval = bootstrap_interval(values)
    assert interval == pytest.approx(normal_interval(values), abs=0.004)
    assert bootstrap_interval(values) == interval
    assert bootstrap_interval(values, seed=1) != interval
    assert bootstrap_interval([0.25] * 7) == (0.25, 0.25)
