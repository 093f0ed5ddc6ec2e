"""Mixtures: shares of the draws, orders, exact positions, and the small helpers for data set options."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picochat.data.mixture import Mixture, parse_weighted_path, train_validation_split
from picochat.errors import UserError


def test_a_weight_is_a_share_of_the_draws_whatever_the_sizes():
    sets = [range(3), range(1000), range(50), range(10)]
    mixture = Mixture(sets, [2.0, 1.0, 0.0, 1.0], seed=1)
    counts = Counter(mixture.draw().dataset for _ in range(20_000))
    # Binomial: the standard deviation of a share is at most 0.5 / sqrt(20000) = 0.0035; allowed are five.
    for dataset, share in enumerate([0.5, 0.25, 0.0, 0.25]):
        assert counts[dataset] / 20_000 == pytest.approx(share, abs=0.018)
    assert counts[2] == 0
    assert mixture.epochs[0] == counts[0] / 3


def test_each_set_is_gone_through_whole_in_a_new_order_each_time():
    mixture = Mixture([range(50), range(7)], [1, 1], seed=0)
    items = [[], []]
    for _ in range(1000):
        dataset, item = mixture.draw()
        items[dataset].append(item)
    for size, drawn in zip((50, 7), items, strict=True):
        passes = [drawn[at : at + size] for at in range(0, len(drawn) - size, size)]
        assert all(sorted(one) == list(range(size)) for one in passes)
        assert all(before != after for before, after in pairwise(passes[:5]))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(0, 5), st.integers(0, 3000))
def test_a_restored_position_gives_the_identical_draws(sizes, seed, num_before):
    def mixture() -> Mixture[int]:
        return Mixture([range(size) for size in sizes], [1.0] * len(sizes), seed=seed)

    source, restored = mixture(), mixture()
    for _ in range(num_before):
        source.draw()
    restored.draw()
    restored.load_state_dict(json.loads(json.dumps(source.state_dict())))
    assert [source.draw() for _ in range(40)] == [restored.draw() for _ in range(40)]


def test_seeds_differ():
    draws = [[Mixture([range(100)], [1], seed=seed).draw().item for seed in range(20)]]
    assert len(set(draws[0])) > 5


def test_get_returns_the_item():
    mixture = Mixture(["ab", "c"], [0, 1], seed=0)
    assert mixture.get(mixture.draw()) == "c"


@pytest.mark.parametrize(
    ("datasets", "weights", "message"),
    [
        ([], [], "no data set given"),
        ([range(3), range(0)], [1, 1], "data set 2 of 2 is empty"),
        ([range(3)], [-1], "data set 1: weight -1 is not a share"),
        ([range(3)], [float("nan")], "weight nan"),
        ([range(3)], [float("inf")], "weight inf"),
        ([range(3), range(3)], [0, 0], "all data sets have weight 0"),
    ],
)
def test_mixtures_that_are_none(datasets, weights, message):
    with pytest.raises(UserError, match=message):
        Mixture(datasets, weights, seed=0)


def test_a_position_in_other_data_is_refused():
    state = Mixture([range(3)], [1], seed=0).state_dict()
    with pytest.raises(UserError, match=r"have \[4\] rows, but the run began with \[3\]"):
        Mixture([range(4)], [1], seed=0).load_state_dict(state)
    with pytest.raises(UserError, match="began with --seed 0, not 2"):
        Mixture([range(3)], [1], seed=2).load_state_dict(state)
    with pytest.raises(UserError, match="is not what this run began with, though as many rows"):
        Mixture([range(3)], [1], seed=0, fingerprints=["a"]).load_state_dict(state)


def test_a_position_that_was_saved_without_fingerprints_is_taken():
    state = Mixture([range(3)], [1], seed=0).state_dict()
    del state["fingerprints"]
    Mixture([range(3)], [1], seed=0, fingerprints=["a"]).load_state_dict(state)


@pytest.mark.parametrize(
    ("text", "path", "weight"),
    [
        ("a.jsonl", "a.jsonl", 1.0),
        ("a.jsonl:0.5", "a.jsonl", 0.5),
        ("a.jsonl:2", "a.jsonl", 2.0),
        ("a:b.jsonl", "a:b.jsonl", 1.0),
        ("a:b.jsonl:1e-1", "a:b.jsonl", 0.1),
        (r"C:\data\a.jsonl", r"C:\data\a.jsonl", 1.0),
        (r"C:\data\a.jsonl:0", r"C:\data\a.jsonl", 0.0),
        ("a.jsonl:", "a.jsonl:", 1.0),
    ],
)
def test_path_and_weight(text, path, weight):
    assert parse_weighted_path(text) == (Path(path), weight)


@pytest.mark.parametrize("text", ["a.jsonl:-1", "a.jsonl:nan", "a.jsonl:inf", ":0.5", ""])
def test_weights_that_are_none(text):
    with pytest.raises(UserError):
        parse_weighted_path(text)


@given(st.integers(2, 300), st.floats(0.001, 0.999), st.integers(0, 9))
def test_a_split_is_disjoint_whole_and_never_empty(size, fraction, seed):
    train, validation = train_validation_split(range(size), fraction=fraction, seed=seed)
    parts = [[part[index] for index in range(len(part))] for part in (train, validation)]
    assert sorted(parts[0] + parts[1]) == list(range(size))
    assert min(len(train), len(validation)) >= 1
    assert abs(len(validation) - fraction * size) <= 1
    again = train_validation_split(range(size), fraction=fraction, seed=seed)[1]
    assert [again[index] for index in range(len(again))] == parts[1]


def test_splits_that_can_not_be():
    with pytest.raises(UserError, match="1 row can not be split"):
        train_validation_split(range(1), fraction=0.5, seed=0)
    with pytest.raises(UserError, match="between 0 and 1"):
        train_validation_split(range(9), fraction=1.0, seed=0)
