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
NO_CURVES = frozenset(("event", "step", "tokens", "tokens_seen"))
"""Fields of a step that nobody wants a curve of."""
GROUPED = {"lr": "lr ", "update_ratio": "update ratio ", "stats": "", "metrics": "eval "}
"""Fields that hold several numbers, and what their names are put behind."""
LARGEST = 1e300
"""Numbers beyond this are no measurements, and their differences no numbers."""
TIDY_ROWS = 64
"""Rows after which it is looked whether a series is too long."""


class Series:
    """Values over increasing steps."""

    def __init__(self) -> None:
        self.steps = array("d")
        self.values = array("d")

    def __len__(self) -> int:
        return len(self.steps)

    def cut(self, step: float) -> None:
        """Forget the values at `step` and after it."""
        if self.steps and step <= self.steps[-1]:
            first = bisect_left(self.steps, step)
            del self.steps[first:], self.values[first:]

    def thin_out(self) -> bool:
        """Make room if there are too many points; return whether there were. Takes some milliseconds."""
        if len(self.steps) <= MOST_POINTS:
            return False
        old = self.values
        steps, values = array("d"), array("d")
        for group, four in enumerate(zip(old[0::4], old[1::4], old[2::4], old[3::4], strict=False)):
            low, high = four.index(min(four)), four.index(max(four))
            for index in (low, high) if low < high else (high, low) if high < low else (low,):
                steps.append(self.steps[4 * group + index])
                values.append(four[index])
        rest = len(old) // 4 * 4
        # In place: whoever draws or fills the series goes on with it.
        self.steps[:], self.values[:] = steps + self.steps[rest:], values + old[rest:]
        return True


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
        self._by_event: dict[str, dict[str, Series]] = {"step": {}, "eval": {}}
        self._reached = {"step": -math.inf, "eval": -math.inf}
        self._rows = 0

    def feed(self, rows: Iterable[dict[str, Any]]) -> None:
        """Take rows of metrics.jsonl; what is no number is left out."""
        for row in rows:
            event, step = row.get("event"), row.get("step")
            if event not in ("step", "eval") or type(step) is not int:
                continue
            known = self._by_event[event]
            if step <= self._reached[event]:
                # The run was resumed from before this step.
                for series in known.values():
                    series.cut(step)
            self._reached[event] = step
            if event == "step":
                self.last_step = row
                self._take(known, step, row, "")
            for group, prefix in GROUPED.items():
                values = row.get(group)
                if type(values) is dict:
                    self._take(known, step, values, prefix)
            self._rows += 1
            if self._rows % TIDY_ROWS == 0:
                # One at a time: nobody should notice.
                any(series.thin_out() for series in self.series.values())

    def _take(self, known: dict[str, Series], step: int, values: dict[str, Any], prefix: str) -> None:
        for name, value in values.items():
            if (type(value) is float or type(value) is int) and -LARGEST < value < LARGEST:
                if not prefix and name in NO_CURVES:
                    continue
                series = known.get(prefix + name)
                if series is None:
                    series = known[prefix + name] = self.series.setdefault(prefix + name, Series())
                series.steps.append(step)
                series.values.append(value)
