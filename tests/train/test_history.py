"""The history of a run: its events, read again from their file, and the curves of them."""

import json
import time

import pytest

from picochat.train.events import EvalDone, Finished, SampleDone, Saved, StepDone, event_of
from picochat.train.history import History


def test_every_event_survives_its_file(tmp_path, begin):
    run = begin(tmp_path, steps=3, sample_every=1, prompts=("the",))
    events = list(run)
    assert {type(event) for event in events} == {StepDone, EvalDone, SampleDone, Saved, Finished}
    assert [event_of(json.loads(json.dumps(event.row()))) for event in events] == events
    read = History.of(run.directory)
    assert sorted(map(repr, read.events)) == sorted(map(repr, events))
    assert [event.step for event in History.of(run.directory, until=1).steps()] == [1]


def step(number: int, seconds: float) -> StepDone:
    return StepDone(
        step=number, loss=1.0, tokens=1, tokens_seen=number, seconds=seconds, tokens_per_second=1.0, mfu=None,
        lr={}, grad_norm=1.0,
    )  # fmt: skip


def test_time_left_is_that_of_steps_and_what_comes_between():
    history = History()
    assert history.seconds_left(10) is None
    history.add(EvalDone(step=0, metrics={}, seconds=100.0))
    history.add(step(1, 60.0))  # the first prepares what the others use
    assert history.seconds_left(10) is None
    for number in range(2, 12):
        history.add(step(number, 0.5))
    assert history.seconds_left(10) == 5.0
    history.add(EvalDone(step=11, metrics={}, seconds=2.0))
    history.add(Saved(step=11, path="", seconds=3.0))
    assert history.seconds_left(10) == 10.0
    for number in range(12, 100):
        history.add(step(number, 0.1))
    assert history.seconds_left(10) == pytest.approx(1.0), "at the pace of today"


def test_rows_from_another_version_are_read_as_far_as_they_are_known():
    row = {"event": "eval", "step": 3, "metrics": {"bpb": 2.0}, "seconds": 1.0, "new": 1}
    assert event_of(row) == EvalDone(step=3, metrics={"bpb": 2.0}, seconds=1.0)
    with pytest.raises(ValueError, match="no such event: 'nothing'"):
        event_of({"event": "nothing", "step": 1})
    with pytest.raises(ValueError, match="not a eval event"):
        event_of({"event": "eval", "step": 1})


def make_step(step: int) -> StepDone:
    return StepDone(
        step=step, loss=1 / step, tokens=1, tokens_seen=step, seconds=1.0, tokens_per_second=1.0, mfu=None,
        lr={"head": 0.1 * step}, grad_norm=2.0, update_ratio={"head": 0.5} if step % 10 == 1 else {},
    )  # fmt: skip


def test_curves_grow_with_the_history():
    history = History()
    for step in range(1, 8):
        history.add(make_step(step))
        steps, values = history.curve(StepDone, "lr", "head")
        assert list(steps) == list(range(1, step + 1))
        assert list(values) == pytest.approx([0.1 * s for s in range(1, step + 1)])
    for step in range(8, 23):
        history.add(make_step(step))
    assert list(history.curve(StepDone, "update_ratio", "head")[0]) == [1, 11, 21]
    assert len(history.curve(StepDone, "mfu")[0]) == 0
    assert history.names(StepDone, "update_ratio") == ["head"]
    assert history.last(EvalDone) is None


def test_long_curves_are_read_quickly():
    history = History([make_step(step) for step in range(1, 100_001)])
    history.curve(StepDone, "loss")
    history.add(make_step(100_001))
    times = []
    for _ in range(5):
        began = time.perf_counter()
        steps, _ = history.curve(StepDone, "loss")
        times.append(time.perf_counter() - began)
    assert len(steps) == 100_001
    assert min(times) < 0.02
