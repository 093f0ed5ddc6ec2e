"""Watching runs that train in other processes, through their folders alone: only what is new is read.

A watcher keeps the `version` it saw and waits for another one, as with a run's controller; the waiting
itself looks at the files, so that nobody looks at them while nobody watches.
"""

import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from picochat.errors import UserError
from picochat.train.run_dir import RunDir
from picochat.train.tail import Tail

_SECONDS_BETWEEN_LOOKS = 0.25
_SECONDS_OF_ROWS = 0.1
"""Rows that can be read in this time are held together, no more."""


class Series:
    """A quantity over steps, in 16 bytes a point."""

    def __init__(self) -> None:
        self.steps = array("q")
        self.values = array("d")

    def add(self, step: int, value: float) -> None:
        """Add a point; one of an earlier step, after a resume, takes the place of what followed it."""
        if self.steps and step <= self.steps[-1]:
            kept = bisect_left(self.steps, step)
            del self.steps[kept:], self.values[kept:]
        self.steps.append(step)
        self.values.append(value)


class WatchedRun:
    """What is known of one run.

    status: where the run stands. One thread may look for news while others read.
    """

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self.name = run.name
        self.info = run.info()
        self.status: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._series: dict[str, Series] = {}
        self._texts: dict[tuple[int, str], str] = {}
        self._metrics = Tail(run.path / "metrics.jsonl")
        self._samples = Tail(run.path / "samples.jsonl")

    def look(self) -> bool:
        """Read what is new; returns whether there was something."""
        with self._lock:
            return self._look()

    def curve(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Return steps and values of a metric; none where it was not measured."""
        with self._lock:
            series = self._series.get(metric, Series())
            return np.array(series.steps), np.array(series.values)

    def metrics(self) -> list[str]:
        """Return the names of what was measured so far, see `flatten`."""
        with self._lock:
            return list(self._series)

    def samples(self) -> list[tuple[int, str, str]]:
        """Return (step, prompt, text) of what the model wrote, in order."""
        with self._lock:
            return [(step, prompt, text) for (step, prompt), text in self._texts.items()]

    def _look(self) -> bool:
        # The heartbeat is news only where it stops, and then the state changes.
        status = {name: value for name, value in self.run.status().items() if name != "heartbeat"}
        is_new = status != self.status
        self.status = status
        for rows in _new_events(self._metrics):
            if self._metrics.began_anew():
                self._series, is_new = {}, True
            for row in rows:
                is_new = True
                for name, value in flatten(row).items():
                    self._series.setdefault(name, Series()).add(row["step"], value)
        for rows in _new_events(self._samples):
            if self._samples.began_anew():
                self._texts, is_new = {}, True
            for row in rows:
                is_new = True
                self._texts[row["step"], row["prompt"]] = row["text"]
        return is_new

    @property
    def is_going(self) -> bool:
        """Whether a process trains it, as far as its last word tells."""
        return self.status["state"] in ("starting", "running", "paused")

    @property
    def seconds_left(self) -> float | None:
        """Time to the end at the pace of the last steps; None where that can not be told."""
        steps, recent = self.status.get("steps"), self.curve("seconds")[1][-20:]
        if not self.is_going or steps is None or not len(recent):
            return None
        return (steps - self.status["step"]) * float(recent.mean())


def _new_events(file: Tail) -> Iterator[list[dict[str, Any]]]:
    """Yield the events that were added since the last look, some at a time.

    Raises:
        UserError: a whole line is no event.
    """
    while True:
        damaged = file.damaged
        rows = file.read(_SECONDS_OF_ROWS)
        events = [row for row in rows if "event" in row and isinstance(row.get("step"), int)]
        yield events
        if file.damaged > damaged or len(events) < len(rows):
            raise UserError(f"{file.path}: holds a line that is no event; the file is damaged")
        if not file.is_behind:
            return


def flatten(row: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a step or an evaluation by name; those of a group carry the field's name.

    Evaluations are called `held-out NAME`, lest they be taken for the training's own.

    >>> flatten({"event": "step", "step": 3, "loss": 2.5, "lr": {"head": 0.1}, "stats": {"kl": 0.01}})
    {'loss': 2.5, 'lr head': 0.1, 'kl': 0.01}
    >>> flatten({"event": "eval", "step": 3, "metrics": {"bpb": 1.5}, "seconds": 2.0})
    {'held-out bpb': 1.5}
    """
    if row["event"] == "eval":
        return {f"held-out {name}": value for name, value in row["metrics"].items()}
    if row["event"] != "step":
        return {}
    numbers: dict[str, float] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            prefix = "" if name == "stats" else f"{name.replace('_', ' ')} "
            numbers |= {prefix + part: number for part, number in value.items()}
        elif name not in ("event", "step", "stop") and value is not None:
            numbers[name.replace("_", " ")] = value
    return numbers


class Watch:
    """Several runs, watched together; any number of threads may wait."""

    is_closed = False
    """A run that ended may be resumed: who watches goes on watching."""

    def __init__(self, runs: Sequence[RunDir]) -> None:
        self.runs = [WatchedRun(run) for run in runs]
        self.version = 0
        self._lock = threading.Lock()
        self._next_look = 0.0
        self.look()

    def look(self) -> int:
        """Read what is new; returns the version."""
        with self._lock:
            if time.monotonic() >= self._next_look:
                self.version += any([run.look() for run in self.runs])
                self._next_look = time.monotonic() + _SECONDS_BETWEEN_LOOKS
            return self.version

    def wait(self, version: int, timeout: float) -> int:
        """Return the version as soon as it is another one, or after `timeout` seconds."""
        end = time.monotonic() + timeout
        while self.look() == version and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _SECONDS_BETWEEN_LOOKS))
        return self.version
