"""The curves of a run, gathered row by row in bounded memory."""

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

MOST_POINTS = 16384
"""A series that grows beyond this keeps the lowest and the highest of every four older points: more than any
terminal has room for, and no spike is lost."""
PLAIN = ("loss", "grad_norm", "tokens_per_second", "seconds", "mfu")
GROUPED = {"lr": "lr ", "update_ratio": "update ratio ", "stats": ""}
"""Fields of a step that hold several numbers, and what their names are put behind."""


class Series:
    """Values over increasing steps."""

    def __init__(self, most: int = MOST_POINTS) -> None:
        self.steps = array("d")
        self.values = array("d")
        self._most = most

    def __len__(self) -> int:
        return len(self.steps)

    def add(self, step: float, value: float) -> None:
        """Take a value; what was known of this step and later ones is forgotten: the run was resumed."""
        if self.steps and step <= self.steps[-1]:
            cut = bisect_left(self.steps, step)
            del self.steps[cut:], self.values[cut:]
        self.steps.append(step)
        self.values.append(value)
        if len(self.steps) > self._most:
            self._thin_out()

    def _thin_out(self) -> None:
        steps, values = array("d"), array("d")
        for start in range(0, len(self.steps) - 3, 4):
            four = range(start, start + 4)
            ends = {min(four, key=self.values.__getitem__), max(four, key=self.values.__getitem__)}
            for index in sorted(ends):
                steps.append(self.steps[index])
                values.append(self.values[index])
        rest = len(self.steps) // 4 * 4
        self.steps, self.values = steps + self.steps[rest:], values + self.values[rest:]

    def at(self, step: float) -> float | None:
        """Return the value at the step nearest to `step`."""
        if not self.steps:
            return None
        right = min(bisect_left(self.steps, step), len(self.steps) - 1)
        left = max(right - 1, 0)
        return self.values[min(left, right, key=lambda index: abs(self.steps[index] - step))]


def smoothed(series: Series, span: float) -> Series:
    """Return the exponential moving average over about `span` steps, without a bias to the first value.

    Weights fall with the distance in steps, not in points, so that thinned-out parts are treated alike.
    """
    out = Series()
    # A copy: the series may grow before what is returned is drawn.
    out.steps = array("d", series.steps)
    if span <= 1 or len(series) < 2:
        out.values = array("d", series.values)
        return out
    gaps = [1.0, *(after - before for before, after in pairwise(series.steps))]
    total = weight = 0.0
    for gap, value in zip(gaps, series.values, strict=True):
        keep = math.exp(-2.0 * gap / span)
        total = keep * total + (1.0 - keep) * value
        weight = keep * weight + (1.0 - keep)
        out.values.append(total / weight)
    return out


class Curves:
    """Every number of metrics.jsonl as a series of its own."""

    def __init__(self) -> None:
        self.series: dict[str, Series] = {}
        self.last_step: dict[str, Any] = {}
        """The newest row of a step."""
        self.last_eval: dict[str, Any] = {}

    def feed(self, rows: Iterable[dict[str, Any]]) -> None:
        """Take rows of metrics.jsonl; what is no number is left out."""
        for row in rows:
            step = _number(row.get("step"))
            if step is None:
                continue
            if row.get("event") == "step":
                self.last_step = row
                for name in PLAIN:
                    self._add(name, step, row.get(name))
                for group, prefix in GROUPED.items():
                    self._add_all(prefix, step, row.get(group))
            elif row.get("event") == "eval":
                self.last_eval = row
                self._add_all("eval ", step, row.get("metrics"))

    def _add_all(self, prefix: str, step: float, values: Any) -> None:
        if isinstance(values, dict):
            for name, value in values.items():
                self._add(prefix + name, step, value)

    def _add(self, name: str, step: float, value: Any) -> None:
        number = _number(value)
        if number is None:
            return
        if name not in self.series:
            # Not all at the same step: thinning one out takes some milliseconds, and nobody should notice.
            self.series[name] = Series(MOST_POINTS - len(self.series) % 16 * 256)
        self.series[name].add(step, number)


def _number(value: Any) -> float | None:
    """Return a finite number as it is, anything else as None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and abs(value) < 1e300 else None
