"""Curves as braille characters: every cell holds two by four dots. No Textual here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from picochat.commands.text_plot import DOTS

COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#f0e442", "#0072b2")
"""Okabe and Ito's colours (Color Universal Design, 2008), the brighter ones first."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A curve to be drawn: values over increasing steps."""

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    colour: str
    is_faint: bool = False
    """Drawn in the background: what a smoothed curve was made from."""
    has_points: bool = False
    """Each value gets a mark, if there is room."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """The part of the plane that is to be seen."""

    first: float
    last: float
    low: float
    high: float
    is_log: bool = False

    def x(self, step: float) -> float:
        """Return where a step lies from left (0) to right (1)."""
        return (step - self.first) / ((self.last - self.first) or 1.0)

    def y(self, value: float) -> float | None:
        """Return where a value lies from bottom (0) to top (1); None if a log axis has no place for it."""
        if self.is_log:
            if value <= 0:
                return None
            value = math.log10(value)
        return (value - self._bottom) / ((self._top - self._bottom) or 1.0)

    @property
    def _bottom(self) -> float:
        return math.log10(self.low) if self.is_log else self.low

    @property
    def _top(self) -> float:
        return math.log10(self.high) if self.is_log else self.high

    def value(self, y: float) -> float:
        """Return the value at a height."""
        place = self._bottom + y * (self._top - self._bottom)
        return 10**place if self.is_log else place


def find_range(
    lines: Sequence[Line], *, is_log: bool, first: float | None = None, last: float | None = None
) -> Range | None:
    """Return the range that shows all of the lines between two steps; None if there is nothing to show.

    Faint lines do not widen it when others are there: a few wild values would press the curve flat.
    """
    solid = [line for line in lines if not line.is_faint and len(line.steps)] or [
        line for line in lines if len(line.steps)
    ]
    if not solid:
        return None
    left = min(line.steps[0] for line in solid) if first is None else first
    right = max(line.steps[-1] for line in solid) if last is None else last
    values = [
        value
        for line in solid
        for step, value in zip(line.steps, line.values, strict=True)
        if left <= step <= right and (value > 0 or not is_log)
    ]
    if not values:
        return None
    low, high = min(values), max(values)
    if low == high:
        pad = abs(low) * 0.1 or 1.0
        low, high = (low / 1.2, high * 1.2) if is_log else (low - pad, high + pad)
    return Range(first=left, last=right, low=low, high=high, is_log=is_log)


class Canvas:
    """Cells of braille dots; of two lines in a cell, the later one gives the colour."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.dots = [[0] * width for _ in range(height)]
        self.owner: list[list[Line | None]] = [[None] * width for _ in range(height)]
        self.marks: dict[tuple[int, int], Line] = {}
        """Cells (column, row) that hold a mark."""

    def draw(self, line: Line, area: Range, dash: int = 0) -> None:
        """Draw a line: of all values that share a column of dots the lowest and the highest count.

        `dash` leaves gaps, so that lines are told apart where there are no colours.
        """
        columns, rows = 2 * self.width - 1, 4 * self.height - 1
        has_points = line.has_points and len(line.steps) * 5 <= self.width
        column, low, high, last = -1, 0, 0, None
        for step, value in zip(line.steps, line.values, strict=True):
            place, level = area.x(step), area.y(value)
            if level is None or not 0.0 <= place <= 1.0:
                continue
            x, y = round(place * columns), round((1.0 - min(max(level, 0.0), 1.0)) * rows)
            if has_points:
                self.marks[x // 2, y // 4] = line
            if x == column:
                low, high = min(low, y), max(high, y)
                last = (x, y)
                continue
            if last is not None:
                self._fill(line, column, low, high, dash)
                self._join(line, last, (x, y), dash)
            column, low, high, last = x, y, y, (x, y)
        if last is not None:
            self._fill(line, column, low, high, dash)

    def _fill(self, line: Line, x: int, low: int, high: int, dash: int) -> None:
        if dash and (x // (2 * dash)) % 2:
            return
        for y in range(low, high + 1):
            self.dots[y // 4][x // 2] |= DOTS[x % 2][y % 4]
            self.owner[y // 4][x // 2] = line

    def _join(self, line: Line, start: tuple[int, int], end: tuple[int, int], dash: int) -> None:
        """Draw the straight line between two columns."""
        (x0, y0), (x1, y1) = start, end
        before = y0
        for x in range(x0 + 1, x1 + 1):
            y = round(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
            # From the height before, so that steep lines stay in one piece.
            low, high = min(before, y), max(before, y)
            if high - low > 1:
                low, high = (low + 1, high) if before == low else (low, high - 1)
            self._fill(line, x, low, high, dash)
            before = y

    def cell(self, column: int, row: int) -> tuple[str, Line | None]:
        """Return the character of a cell and the line whose colour it has."""
        mark = self.marks.get((column, row))
        if mark is not None:
            return "•", mark
        dots = self.dots[row][column]
        return (chr(0x2800 + dots), self.owner[row][column]) if dots else (" ", None)


def short(value: float) -> str:
    """Return a number in few characters.

    >>> short(0.7336), short(12345.6), short(3.2e-7), short(1800.0), short(0.0)
    ('0.734', '12.3k', '3.2e-07', '1800', '0')
    """
    size = abs(value)
    if size >= 1e6 or (size and size < 1e-3):
        return f"{value:.2g}" if size < 1e6 else f"{value / 1e6:.3g}M" if size < 1e9 else f"{value:.2e}"
    if size >= 1e4:
        return f"{value / 1e3:.3g}k"
    return f"{value:.0f}" if size >= 1e3 else f"{value:.3g}"


def histogram_rows(counts: Sequence[int], width: int, height: int, *, is_log: bool = False) -> list[str]:
    """Return a histogram as rows of block characters, with the counts gathered into `width` bars."""
    bars = [
        sum(counts[len(counts) * i // width : len(counts) * (i + 1) // width]) for i in range(max(width, 1))
    ]
    heights = [math.log1p(bar) if is_log else float(bar) for bar in bars]
    top = max(heights) or 1.0
    blocks = " ▁▂▃▄▅▆▇█"
    rows = []
    for row in range(height - 1, -1, -1):
        levels = [8 * height * size / top - 8 * row for size in heights]
        # The smallest bar that is not empty is still to be seen.
        levels = [
            max(level, 1.0) if row == 0 and bar else level for level, bar in zip(levels, bars, strict=True)
        ]
        rows.append("".join(blocks[min(max(round(level), 0), 8)] for level in levels))
    return rows
