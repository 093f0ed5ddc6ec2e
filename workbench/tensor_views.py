"""Tensors in words and pictures: statistics with a histogram, a map of layers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from picochat.commands.runs_view import short_bytes
from workbench.canvas import histogram_rows, short
from workbench.tensor_files import TensorFacts, layer_of
from workbench.visible import visible

RAMP = ("#2b4c7e", "#3d78b4", "#56b4e9", "#c8b273", "#e69f00", "#d55e00")
"""From low to high: blue to orange, which everybody can tell apart."""
SHADES = "·░▒▓██"
CELLS = (6, 2, 1)
"""Widths of a cell: with a number, with a gap, without."""
NUMBER_CELL = CELLS[0]


def stats_text(
    tensor: TensorFacts, found: Mapping[str, Any] | None, *, width: int, height: int, is_log: bool
) -> Text:
    """Return what is known of a tensor."""
    text = Text()
    text.append(f"{visible(tensor.name)}\n", "bold")
    shape = " × ".join(map(str, tensor.shape)) or "scalar"
    told = f"{tensor.dtype}  {shape}  {tensor.num_values:,} values  {short_bytes(tensor.num_bytes)}\n\n"
    text.append(told, "dim")
    if found is None:
        text.append("enter measures it", "dim")
        return text
    if "error" in found:
        text.append(visible(str(found["error"])), "red")
        return text
    if found["count"]:
        for row in histogram_rows(found["histogram"], width, height, is_log=is_log):
            text.append(f"{row}\n", RAMP[2])
        low, high = short(found["min"]), short(found["max"])
        zero = ""
        if found["min"] < 0 < found["max"]:
            place = round(-found["min"] / (found["max"] - found["min"]) * (width - 1))
            if len(low) < place < width - len(high) - 1:
                zero = " " * (place - len(low)) + "0"
        middle = "counts on a log axis" if is_log else ""
        line = f"{low}{zero}"
        text.append(f"{line}{f'{middle}  {high}':>{max(width - len(line), 0)}}\n\n", "dim")
        for name in ("mean", "std", "rms", "norm"):
            text.append(f"{name} ", "dim")
            text.append(f"{short(found[name])}   ", "bold")
        text.append("\n")
        for name, value in found["quantiles"].items():
            text.append(f"{float(name):.0%} ", "dim")
            text.append(f"{short(value)}  ")
        text.append("\n")
    text.append("zeros ", "dim")
    text.append(f"{found['zeros'] / found['count']:.2%}" if found["count"] else "0")
    for name, label in (("nans", "NaN"), ("infinities", "infinite")):
        text.append(f"   {label} ", "dim")
        text.append(str(found[name]), "bold red" if found[name] else "")
    return text


def heat_map(measured: Mapping[str, Mapping[str, Any]], key: str, *, width: int) -> Text:
    """Return one number of every tensor as a map: a row for each kind, a column for each layer."""
    values = {name: row[key] for name, row in measured.items() if isinstance(row.get(key), int | float)}
    if not values:
        return Text("measuring …", "dim")
    grid: dict[str, dict[int, float]] = {}
    alone: dict[str, float] = {}
    for name, value in values.items():
        kind, layer = layer_of(name)
        if layer is None:
            alone[kind] = value
        else:
            grid.setdefault(kind, {})[layer] = value
    ordered = sorted(values.values())
    # A few tensors far off (gates, scalars) would leave all others one colour.
    low, high = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
    title = "relative change |b − a| / |a|" if key == "relative" else "root mean square"
    text = Text()
    text.append(f"{title} by layer\n\n", "bold")
    layers = sorted({layer for row in grid.values() for layer in row})
    margin = min(max((len(kind) for kind in (*grid, *alone)), default=0), max(width // 3, 14))
    cell = next((c for c in CELLS if margin + 1 + c * len(layers) <= width), CELLS[-1])
    shown = layers[: max((width - margin - 1) // cell, 1)]
    if grid:
        text.append(f"{'layer':>{margin}} ", "dim")
        text.append(f"{_layer_axis(shown, cell)}\n", "dim")
    for kind, row in grid.items():
        text.append(f"{visible(_cut(kind, margin)):>{margin}} ")
        for layer in shown:
            _append_cell(text, row.get(layer), cell, key, low, high)
        text.append("\n")
    if len(shown) < len(layers):
        text.append(f"{len(layers) - len(shown)} more layers have no room here\n", "dim")
    text.append("\n")
    for kind, value in alone.items():
        text.append(f"{visible(_cut(kind, margin)):>{margin}} ")
        _append_cell(text, value, NUMBER_CELL, key, low, high)
        text.append("\n")
    text.append(f"\n{'':>{margin}} ", "dim")
    for shade, colour in zip(SHADES, RAMP, strict=True):
        text.append(shade * 2, colour)
    text.append(f"  {_number(low, key)} … {_number(high, key)}", "dim")
    return text


def _layer_axis(layers: Sequence[int], cell: int) -> str:
    """Return the numbers of layers above their cells, as many as there is room for."""
    row = [" "] * (cell * len(layers))
    for index, layer in enumerate(layers):
        start = cell * index + max(cell - 1 - len(str(layer)), 0)
        label = str(layer)
        before = row[max(start - 1, 0) : start + len(label)]
        if all(char == " " for char in before) and start + len(label) <= len(row):
            row[start : start + len(label)] = label
    return "".join(row)


def _append_cell(text: Text, value: float | None, width: int, key: str, low: float, high: float) -> None:
    if value is None:
        text.append(" " * width)
        return
    level = _level(value, low, high)
    if width == NUMBER_CELL:
        is_share = key == "relative" and value < 10
        number = f"{value:.1%}"[:5] if is_share else f"{value:.3f}"[:5] if value < 10 else short(value)[:5]
        text.append(f"{number:>{width - 1}}", f"{'black' if level > 1 else 'white'} on {RAMP[level]}")
        text.append(" ")
    else:
        text.append(SHADES[level], RAMP[level])
        text.append(" " * (width - 1))


def _level(value: float, low: float, high: float) -> int:
    """Return which of the ramp's colours a value has, on a log scale where all are positive."""
    if low > 0 and value > 0:
        value, low, high = math.log(value), math.log(low), math.log(high)
    share = (value - low) / ((high - low) or 1.0)
    return min(max(int(share * len(RAMP)), 0), len(RAMP) - 1)


def _number(value: float, key: str) -> str:
    return f"{value:.1%}" if key == "relative" else short(value)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"…{text[1 - width :]}"
