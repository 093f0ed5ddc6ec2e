"""Curves drawn with characters."""

from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of a braille character (Unicode U+2800): left and right column, from the top."""


def sparkline(values: Sequence[float], width: int) -> str:
    """Return `values` as at most `width` bars, each the mean of its share of them.

    >>> sparkline([4, 3, 3, 1], 4)
    '█▅▅▁'
    """
    means = _means(values, width)
    if not means:
        return ""
    low, high = min(means), max(means)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[int((mean - low) * scale)] for mean in means)


def curve(steps: Sequence[int], values: Sequence[float], *, width: int = 72, height: int = 12) -> list[str]:
    """Return lines that plot `values` over the increasing `steps`, in a frame with the ends of both axes."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    first, last = steps[0], steps[-1]
    cells = [[0] * width for _ in range(height)]
    rows = [round((high - value) / span * (4 * height - 1)) for value in values]
    columns = [round((step - first) / max(last - first, 1) * (2 * width - 1)) for step in steps]
    for index, (x, y) in enumerate(zip(columns, rows, strict=True)):
        # From the height of the point before, so that steep curves stay in one piece.
        start = rows[index - 1] if index else y
        for between in range(min(start, y), max(start, y) + 1):
            cells[between // 4][x // 2] |= DOTS[x % 2][between % 4]
    labels = [f"{high:.3f}", *[""] * (height - 2), f"{low:.3f}"]
    margin = max(map(len, labels))
    lines = [
        f"{label:>{margin}} ┤{''.join(chr(0x2800 + dots) for dots in cell)}"
        for label, cell in zip(labels, cells, strict=True)
    ]
    ends = f"{first}{f'step {last}':>{width - len(str(first))}}"
    return [*lines, f"{'':>{margin}} └{'─' * width}", f"{'':>{margin}}  {ends}"]


def smooth(values: Sequence[float], window: int) -> list[float]:
    """Return the mean of each value and up to `window - 1` before it."""
    total, means = 0.0, []
    for index, value in enumerate(values):
        total += value
        if index >= window:
            total -= values[index - window]
        means.append(total / min(index + 1, window))
    return means


def _means(values: Sequence[float], count: int) -> list[float]:
    """Return the means of `count` equal shares of `values`, or the values if they are fewer."""
    if len(values) <= count:
        return list(values)
    bounds = [len(values) * index // count for index in range(count + 1)]
    shares = [values[bounds[index] : bounds[index + 1]] for index in range(count)]
    return [sum(share) / len(share) for share in shares]
