"""The common form of scores, and what changed between two models."""

import doctest

import pytest

from picochat.errors import UserError
from picochat.eval import scores
from picochat.eval.intervals import bootstrap_interval, paired_interval, wilson_interval
from picochat.eval.scores import Example, TaskScore, paired_difference, short_names


def task_score(credits: list[float], levels: str = "", **options) -> TaskScore:
    examples = tuple(
        Example(id=str(i), level=levels[i : i + 1], question="?", gold="A", answer="B", credit=credit)
        for i, credit in enumerate(credits)
    )
    return TaskScore(task="arc", method="letter", examples=examples, **options)


def test_paired_interval_is_newcombes():
    # Airway responsiveness before and after transplantation (Bentur et al. 2009), 21 children: the interval
    # that Fagerland, Lydersen and Laake 2014 (doi 10.1002/sim.6148) give for Newcombe's method.
    before = [1, 1] + [0] * 7 + [0] * 12
    after = [1, 0] + [1] * 7 + [0] * 12
    low, high = paired_interval(before, after)
    assert (round(low, 3), round(high, 3)) == (0.026, 0.507)
    assert paired_interval(after, before) == pytest.approx((-high, -low))


@pytest.mark.parametrize("share", [0, 10, 20])
def test_paired_interval_is_not_empty_where_nothing_changed(share: int):
    same = [1] * share + [0] * (20 - share)
    low, high = paired_interval(same, same)
    assert low < 0 < high
    # Of scores that agree in everything more is known than of independent ones.
    assert high <= wilson_interval(20, 20).high - wilson_interval(20, 20).low + 1e-9


def test_paired_interval_holds_the_difference_in_95_of_100_worlds():
    import random

    draw = random.Random(1)
    hits = 0
    for _ in range(400):
        pairs = draw.choices([(1, 1), (1, 0), (0, 1), (0, 0)], [4, 1, 2, 3], k=80)
        first, second = zip(*pairs, strict=True)
        low, high = paired_interval(first, second)
        hits += low <= 0.1 <= high
    assert 0.92 <= hits / 400 <= 0.985


def test_shares_are_paired_by_the_bootstrap():
    assert paired_interval([0.5, 0.25, 1], [1, 0.5, 0]) == bootstrap_interval([0.5, 0.25, -1])


def test_difference_names_the_problems_that_changed():
    found = paired_difference(task_score([1, 0, 1, 0, 1]), task_score([1, 1, 0, 1, 1]))
    assert found.value == pytest.approx(0.2)
    assert (found.better, found.worse) == ((1, 3), (2,))
    assert found.interval == paired_interval([1, 0, 1, 0, 1], [1, 1, 0, 1, 1])


def test_levels_and_intervals():
    score = task_score([1, 0, 1, 1], levels="baab")
    assert (score.value, score.interval) == (0.75, wilson_interval(3, 4))
    assert {level: m.value for level, m in score.by_level.items()} == {"a": 0.5, "b": 1.0}
    assert score.by_level["b"].interval == wilson_interval(2, 2)
    several = task_score([0.5, 0.25], num_samples=4)
    assert several.interval == bootstrap_interval([0.5, 0.25])


def test_names_are_short_and_unlike():
    assert doctest.testmod(scores).failed == 0
    assert short_names(["runs/a/", "./b"]) == ["a", "b"]
    assert short_names(["x/a/c", "y/a/c", "c"]) == ["x/a/c", "y/a/c", "c"]
    with pytest.raises(UserError, match="--load names b twice"):
        short_names(["a", "b", "b"])
