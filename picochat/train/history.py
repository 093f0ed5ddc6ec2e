"""What happened in a run so far, for those who draw it while it goes on."""

import threading
from array import array
from collections.abc import Sequence
from itertools import takewhile
from statistics import median
from typing import Any, TypeVar

import numpy as np

from picochat.train.events import (
    Changed,
    EvalDone,
    Event,
    RolloutDone,
    SampleDone,
    Saved,
    StepDone,
    event_of,
)
from picochat.train.run_dir import RunDir

Kind = TypeVar("Kind", bound=Event)

PACE_STEPS = 50
"""Newest steps that tell the pace."""


class History:
    """The events of a run, in order. Every thread may read it while another adds to it."""

    def __init__(self, events: Sequence[Event] = ()) -> None:
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._by_kind: dict[type[Event], list[Any]] = {}
        self._columns: dict[tuple[Any, ...], _Column] = {}
        for event in events:
            self.add(event)

    @classmethod
    def of(cls, directory: RunDir, *, until: int | None = None) -> "History":
        """Return what a run's files tell, up to step `until`; of a step told twice, the last telling."""
        rows = [*directory.rows(), *directory.samples(), *directory.rollouts()]
        rows.sort(key=lambda row: row["step"])
        return cls([event_of(row) for row in rows if until is None or row["step"] <= until])

    def add(self, event: Event) -> None:
        """Add what happened last."""
        with self._lock:
            self._events.append(event)
            self._by_kind.setdefault(type(event), []).append(event)

    @property
    def events(self) -> list[Event]:
        """Everything that happened so far."""
        with self._lock:
            return list(self._events)

    def of_kind(self, kind: type[Kind]) -> list[Kind]:
        """Return the events of one kind."""
        with self._lock:
            return list(self._by_kind.get(kind, ()))

    def steps(self) -> list[StepDone]:
        """Return the steps."""
        return self.of_kind(StepDone)

    def evals(self) -> list[EvalDone]:
        """Return the measurements on held-out data."""
        return self.of_kind(EvalDone)

    def samples(self) -> list[SampleDone]:
        """Return the texts that the model wrote."""
        return self.of_kind(SampleDone)

    def rollouts(self) -> list[RolloutDone]:
        """Return the problems that were practised."""
        return self.of_kind(RolloutDone)

    def changes(self) -> list[Changed]:
        """Return what the user changed."""
        return self.of_kind(Changed)

    def last(self, kind: type[Kind]) -> Kind | None:
        """Return the newest event of a kind."""
        with self._lock:
            events = self._by_kind.get(kind)
            return events[-1] if events else None

    def names(self, kind: type[Event], field: str) -> list[str]:
        """Return the keys that a field holding a dictionary has had, for instance the groups in `lr`."""
        with self._lock:
            found: dict[str, None] = {}
            for event in self._by_kind.get(kind, ())[-20:]:
                found |= dict.fromkeys(getattr(event, field))
            return list(found)

    def seconds_left(self, steps: int) -> float | None:
        """Return about how long `steps` more steps will take, with what comes between; None after one step.

        Goes by the latest 50 steps. The median, for the first step prepares what the others use.
        """
        made = self.steps()[-PACE_STEPS:]
        if len(made) < 2:
            return None
        since = made[0].step
        between = [event.seconds for kind in (EvalDone, Saved) for event in self._since(kind, since)]
        each = median(step.seconds for step in made[1:]) + sum(between) / (len(made) - 1)
        return each * steps

    def _since(self, kind: type[Kind], step: int) -> list[Kind]:
        """Return the newest events of a kind, as far back as after `step`."""
        with self._lock:
            newest = reversed(self._by_kind.get(kind, ()))
            return list(takewhile(lambda event: event.step > step, newest))

    def curve(self, kind: type[Event], *path: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the steps and the values of a field, for instance curve(StepDone, "lr", "matrices").

        Events without the value are left out. Each call reads only what came since the last, so that a curve
        of 100,000 steps costs a millisecond.
        """
        with self._lock:
            column = self._columns.setdefault((kind, *path), _Column())
            column.read(self._by_kind.get(kind, []), path)
            return np.array(column.steps), np.array(column.values)


class _Column:
    """A curve, read as far as it was there."""

    def __init__(self) -> None:
        self.steps, self.values = array("d"), array("d")
        self._num_read = 0

    def read(self, events: Sequence[Event], path: tuple[str, ...]) -> None:
        for event in events[self._num_read :]:
            value = _find(event, path)
            if value is not None:
                self.steps.append(event.step)
                self.values.append(value)
        self._num_read = len(events)


def _find(event: Event, path: tuple[str, ...]) -> float | None:
    value = getattr(event, path[0])
    for key in path[1:]:
        if key not in value:
            return None
        value = value[key]
    return value
