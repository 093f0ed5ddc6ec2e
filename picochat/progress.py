"""Progress of long work: a bar on a terminal, a line now and then when piped. Both go to stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

_SECONDS_BETWEEN_LINES = 5.0


class Update(Protocol):
    """Report how much is done; `total` replaces the one given at the start."""

    def __call__(self, done: int, total: int | None = None, /) -> None: ...


@contextmanager
def progress(total: int | None, label: str, unit: str) -> Iterator[Update]:
    """Show how far a work is. Yields a function to be called with what is done (and the total).

    total: of the work, None if not known yet. unit: of the numbers; `"B"` shows bytes as kB, MB and so on.
    Nothing is shown before the first report, so that work found done in a cache stays silent.
    """
    show, finish = _bar(label, unit) if sys.stderr.isatty() else _lines(label, unit)

    def update(done: int, new_total: int | None = None, /) -> None:
        nonlocal total
        total = new_total or total
        show(done, total)

    try:
        yield update
    finally:
        finish()


_Display = tuple[Callable[[int, int | None], None], Callable[[], None]]


def _bar(label: str, unit: str) -> _Display:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    amount = DownloadColumn() if unit == "B" else MofNCompleteColumn()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        amount,
        TextColumn("" if unit == "B" else unit),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
    )

    def show(done: int, total: int | None) -> None:
        if not bar.task_ids:
            bar.start()
            bar.add_task(label, total=total)
        bar.update(bar.task_ids[0], completed=done, total=total)

    return show, bar.stop


def _lines(label: str, unit: str) -> _Display:
    start = last = time.monotonic()

    def show(done: int, total: int | None) -> None:
        nonlocal last
        now = time.monotonic()
        if done != total and now - last < _SECONDS_BETWEEN_LINES:
            return
        last = now
        line = f"{label}: {_amount(done, unit)}"
        if total:
            line += f" of {_amount(total, unit)} ({done / total:.0%})"
            if 0 < done < total:
                line += f", {(now - start) * (total - done) / done:.0f} s left"
        print(line, file=sys.stderr)

    return show, lambda: None


def _amount(number: float, unit: str) -> str:
    if unit != "B":
        return f"{number:,.0f} {unit}"
    for prefix in ("", "k", "M"):
        if number < 1000:
            return f"{number:.3g} {prefix}B"
        number /= 1000
    return f"{number:.4g} GB"
