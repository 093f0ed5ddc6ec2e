"""Everything that a run writes while it trains, read as it comes."""

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from picochat.train.tail import Tail
from workbench.runs import last_lines
from workbench.series import Curves

NEWEST_SAMPLES = 1 << 20
NEWEST_ROLLOUTS = 1 << 22
"""Bytes of the end of samples.jsonl and rollouts.jsonl that are read when a run is opened."""
MOST_SAMPLES = 300
MOST_ROLLOUTS = 300
MOST_EVENTS = 100
LOG_LINES = 200
SLICE_SECONDS = 0.004
SHOW_SECONDS = 0.3
"""Time between two drawings while a long file is read."""


class RunReader:
    """The curves, samples, rollouts and the log of one run, up to now.

    It is read in slices of a few milliseconds in the thread that draws: in another one, a drawing might meet
    half of a row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.curves = Curves()
        self.events: list[dict[str, Any]] = []
        """What happened besides steps: validations, saves, pauses, the end."""
        self.samples: list[dict[str, Any]] = []
        self.rollouts: list[dict[str, Any]] = []
        self.log: list[str] = []
        self._metrics = Tail(path / "metrics.jsonl")
        self._samples = Tail(path / "samples.jsonl", newest=NEWEST_SAMPLES)
        self._rollouts = Tail(path / "rollouts.jsonl", newest=NEWEST_ROLLOUTS)
        self._log_size = -1

    @property
    def is_behind(self) -> bool:
        """Whether there is more to read at once."""
        return self._metrics.is_behind or self._samples.is_behind or self._rollouts.is_behind

    @property
    def damaged(self) -> int:
        """Lines of the run's files that could not be read."""
        return self._metrics.damaged + self._samples.damaged + self._rollouts.damaged

    @property
    def share_read(self) -> float:
        """How much of metrics.jsonl has been read."""
        return self._metrics.offset / self._metrics.size if self._metrics.size else 1.0

    async def catch_up(self, show: Callable[[], None]) -> None:
        """Read all that is new; `show` is called when there is something to show, now and then meanwhile."""
        shown = time.monotonic()
        is_new = self.read()
        while self.is_behind:
            await asyncio.sleep(0)
            is_new = self.read() or is_new
            if time.monotonic() - shown > SHOW_SECONDS:
                show()
                shown, is_new = time.monotonic(), False
        if is_new:
            show()

    def read(self, seconds: float = SLICE_SECONDS) -> bool:
        """Read what is new for about so long; return whether anything was."""
        try:
            return self._read(seconds)
        except OSError:
            # The folder was deleted or became unreadable; its row in the list tells of it.
            return False

    def _read(self, seconds: float) -> bool:
        is_new = self._read_log()
        rows = self._metrics.read(seconds)
        if self._metrics.began_anew():
            self.curves, self.events, is_new = Curves(), [], True
        self.curves.feed(rows)
        self.events = [*self.events, *(row for row in rows if row.get("event") != "step")][-MOST_EVENTS:]
        samples = [row for row in self._samples.read(seconds) if "prompt" in row and "text" in row]
        if self._samples.began_anew():
            self.samples, is_new = [], True
        if samples:
            # After a resume the last text of a step and prompt wins.
            self.samples = _last(self.samples, samples, "step", "prompt")[-MOST_SAMPLES:]
        rollouts = [row for row in self._rollouts.read(seconds) if isinstance(row.get("answers"), list)]
        if self._rollouts.began_anew():
            self.rollouts, is_new = [], True
        if rollouts:
            self.rollouts = _last(self.rollouts, rollouts, "step", "index")[-MOST_ROLLOUTS:]
        return is_new or bool(rows or samples or rollouts)

    def _read_log(self) -> bool:
        log = self.path / "log.txt"
        try:
            size = log.stat().st_size
        except FileNotFoundError:
            return False
        if size == self._log_size:
            return False
        self._log_size = size
        self.log = last_lines(log, LOG_LINES)
        return True


def _last(
    known: Iterable[dict[str, Any]], new: Iterable[dict[str, Any]], *names: str
) -> list[dict[str, Any]]:
    """Return the rows by step; of those that agree in `names` the last."""
    latest = {tuple(str(row.get(name)) for name in names): row for row in (*known, *new)}
    return sorted(latest.values(), key=lambda row: row["step"] if isinstance(row.get("step"), int) else 0)
