"""A chart of curves, walked with a cursor."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from workbench.canvas import Canvas, Line, Range, find_range, short
from workbench.visible import visible

MUTED = Style(dim=True)
ZOOM = 2.0
FEWEST_STEPS = 4.0


class Plot(Widget, can_focus=True):
    """Lines over steps: log axis, value cursor, zoom along the steps. One light widget."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "cursor(-1)", "Cursor left", show=False),
        Binding("right", "cursor(1)", "Cursor right", show=False),
        Binding("shift+left", "cursor(-10)", "Cursor far left", show=False),
        Binding("shift+right", "cursor(10)", "Cursor far right", show=False),
        Binding("plus,equals_sign", "zoom(1)", "Zoom in at the cursor", show=False),
        Binding("minus", "zoom(-1)", "Zoom out", show=False),
        Binding("0", "reset", "Whole curve, no cursor", show=False),
    ]
    cursor: reactive[float | None] = reactive(None)
    """The step at which values are told."""
    is_log: reactive[bool] = reactive(False)

    class Moved(Message):
        """The cursor went to a step, or away (None)."""

        def __init__(self, plot: "Plot", step: float | None) -> None:
            super().__init__()
            self.plot, self.step = plot, step

        @property
        def control(self) -> "Plot":
            return self.plot

    def __init__(self, title: str = "", *, id: str | None = None, is_log: bool = False) -> None:
        super().__init__(id=id)
        self.set_reactive(Plot.is_log, is_log)
        self.title = title
        self.lines: list[Line] = []
        self.empty = "nothing yet"
        self._limits: tuple[float, float] | None = None
        self._drawn: tuple[object, list[Strip]] | None = None
        self._version = 0
        self._margin = 0
        self._area: Range | None = None

    def show(self, lines: Sequence[Line], title: str | None = None) -> None:
        """Draw these lines; the first solid one is the most important."""
        self.lines = list(lines)
        self.title = self.title if title is None else title
        self._version += 1
        self.refresh()

    # Drawing

    def render_line(self, y: int) -> Strip:
        key = (
            self.size, self._version, self.cursor, self.is_log, self._limits, self.has_focus,
            self.app.no_color, self.rich_style,
        )  # fmt: skip
        if self._drawn is None or self._drawn[0] != key:
            self._drawn = key, self._draw()
        rows = self._drawn[1]
        return rows[y] if y < len(rows) else Strip.blank(self.size.width, self.rich_style)

    def _draw(self) -> list[Strip]:
        width, height = self.size
        base = self.rich_style
        first, last = self._limits or (None, None)
        area = self._area = find_range(self.lines, is_log=self.is_log, first=first, last=last)
        rows = [self._head(base, area)]
        if area is None or height < 4 or width < 16:
            text = self.empty if area is None else ""
            rows += [[Segment(f"  {text}", base + MUTED)]] + [[] for _ in range(height - 2)]
        else:
            rows += self._plane(base, area, width, height - 2)
        return [Strip(row).adjust_cell_length(width, base) for row in rows[:height]]

    def _head(self, base: Style, area: Range | None) -> list[Segment]:
        """Return title and legend; with a cursor, the values there."""
        title = base + Style(bold=True, reverse=self.has_focus)
        row = [Segment(f" {visible(self.title)} ", title)]
        if self.is_log:
            row.append(Segment(" log", base + MUTED))
        if area is None:
            return row
        if self.cursor is not None:
            row.append(Segment(f"  step {self.cursor:.0f}", base))
        solid = [line for line in self.lines if not line.is_faint and len(line.steps)]
        for number, line in enumerate(solid):
            step = area.last if self.cursor is None else self.cursor
            value = _at(line, step)
            mark = "━┅┉"[number % 3] if self.app.no_color else "━"
            row.append(Segment(f"  {mark} ", base + Style(color=line.colour, bold=True)))
            row.append(Segment(f"{visible(line.name)} " if line.name else "", base))
            row.append(Segment("" if value is None else short(value), base + Style(bold=True)))
        return row

    def _plane(self, base: Style, area: Range, width: int, height: int) -> list[list[Segment]]:
        ticks = {
            height - 1 - round(part * (height - 1)): short(area.value(part))
            for part in ((0.0, 0.5, 1.0) if height >= 5 else (0.0, 1.0))
        }
        margin = self._margin = max(map(len, ticks.values())) + 1
        canvas = Canvas(max(width - margin - 1, 4), height)
        solid = 0
        for line in sorted(self.lines, key=lambda line: not line.is_faint):
            dash = (0, 2, 1)[solid % 3] if self.app.no_color and not line.is_faint else 0
            solid += not line.is_faint
            canvas.draw(line, area, dash)
        at = None if self.cursor is None else round(area.x(self.cursor) * (canvas.width - 1))
        rows = []
        for y in range(height):
            edge = f"{ticks.get(y, ''):>{margin - 1}} {'┤' if y in ticks else '│'}"
            rows.append([Segment(edge, base + MUTED), *self._cells(canvas, y, base, at)])
        rows.append([Segment(" " * margin + _step_axis(area, canvas.width), base + MUTED)])
        return rows

    def _cells(self, canvas: Canvas, y: int, base: Style, at: int | None) -> list[Segment]:
        segments: list[Segment] = []
        run, style = "", base
        for x in range(canvas.width):
            char, line = canvas.cell(x, y)
            own = base if line is None else base + Style(color=line.colour, dim=line.is_faint)
            if x == at:
                char, own = ("│", base + MUTED) if line is None else (char, own + Style(reverse=True))
            if own != style and run:
                segments.append(Segment(run, style))
                run = ""
            style = own
            run += char
        return [*segments, Segment(run, style)]

    # Cursor and zoom

    def _visible(self) -> tuple[float, float] | None:
        return None if self._area is None else (self._area.first, self._area.last)

    def action_cursor(self, cells: int) -> None:
        """Move the cursor by cells."""
        limits = self._visible()
        if limits is None:
            return
        first, last = limits
        width = max(self.size.width - self._margin - 2, 1)
        cell = (last - first) / width
        here = last if self.cursor is None else self.cursor
        # At least one step: cells of a short run are less than that.
        distance = cells * max(cell, 1.0)
        self.cursor = min(max(round(here + distance), first), last)

    def action_zoom(self, direction: int) -> None:
        """Halve or double the span of steps around the cursor."""
        whole = find_range(self.lines, is_log=self.is_log)
        limits = self._visible()
        if whole is None or limits is None:
            return
        first, last = limits
        middle = (first + last) / 2 if self.cursor is None else self.cursor
        share = (middle - first) / ((last - first) or 1.0)
        span = (last - first) / ZOOM if direction > 0 else (last - first) * ZOOM
        span = max(span, FEWEST_STEPS)
        if span >= whole.last - whole.first:
            self._limits = None
        else:
            start = min(max(middle - share * span, whole.first), whole.last - span)
            self._limits = start, start + span
        self.refresh()

    def action_reset(self) -> None:
        """Show everything, without a cursor."""
        self._limits, self.cursor = None, None
        self.refresh()

    def watch_cursor(self) -> None:
        self.post_message(self.Moved(self, self.cursor))

    def _step_at(self, event: events.MouseEvent) -> float | None:
        limits = self._visible()
        offset = event.get_content_offset(self)
        if limits is None or offset is None:
            return None
        x = offset.x - self._margin - 1
        width = max(self.size.width - self._margin - 2, 1)
        return round(limits[0] + min(max(x / width, 0.0), 1.0) * (limits[1] - limits[0])) if x >= 0 else None

    def on_click(self, event: events.Click) -> None:
        self.cursor = self._step_at(event)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if event.button:
            self.cursor = self._step_at(event)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        if event.ctrl or self.has_focus:
            event.stop()
            self.action_zoom(1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        if event.ctrl or self.has_focus:
            event.stop()
            self.action_zoom(-1)


def _at(line: Line, step: float) -> float | None:
    """Return a line's value at the last step up to `step`, or its first one."""
    index = max(bisect_right(line.steps, step) - 1, 0)
    return line.values[index] if len(line.values) else None


def _step_axis(area: Range, width: int) -> str:
    """Return the line below a plot: a corner, and the first, middle and last step."""
    first, middle, last = (short(step) for step in (area.first, (area.first + area.last) / 2, area.last))
    row = [" "] * (width + 1)
    row[0] = "└"
    if area.first == area.last:
        middle = last = ""
    for start, text in ((1, first), ((width - len(middle)) // 2, middle), (width + 1 - len(last), last)):
        if all(char == " " for char in row[max(start - 1, 1) : start + len(text) + 1]):
            row[start : start + len(text)] = text
    return "".join(row)
