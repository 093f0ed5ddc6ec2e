"""A table that is filled again and again and keeps cursor and scrolling."""

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.coordinate import Coordinate
from textual.widgets import DataTable

Rows = Sequence[tuple[str, Sequence[Text]]]


class StillTable(DataTable[Text]):
    """Rows have keys; only cells that changed are drawn anew."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", "Down", show=False),
        Binding("k", "cursor_up", "Up", show=False),
        Binding("g,home", "scroll_top", "First", show=False),
        Binding("G,end", "scroll_bottom", "Last", show=False),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, cursor_type="row", zebra_stripes=False)
        self._shown: list[tuple[str, list[Text]]] = []
        self._names: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The key of the row that the cursor is at; empty if there is none."""
        return self._shown[self.cursor_row][0] if 0 <= self.cursor_row < len(self._shown) else ""

    def show(self, columns: Sequence[str], rows: Rows) -> None:
        """Show these rows; the cursor stays at its row, or where it was if that is gone."""
        new = [(key, list(cells)) for key, cells in rows]
        if tuple(columns) == self._names and [key for key, _ in new] == [key for key, _ in self._shown]:
            for y, ((_, before), (_, after)) in enumerate(zip(self._shown, new, strict=True)):
                for x, (old, text) in enumerate(zip(before, after, strict=True)):
                    if old != text or old.style != text.style:
                        self.update_cell_at(Coordinate(y, x), text, update_width=True)
            self._shown = new
            return
        key, row, scroll = self.key, self.cursor_row, self.scroll_y
        if tuple(columns) != self._names:
            self.clear(columns=True)
            for x, name in enumerate(columns):
                justify = new[0][1][x].justify if new else None
                self.add_column(Text(name, justify=justify or "left"))
            self._names = tuple(columns)
        else:
            self.clear()
        self._shown = new
        for name, cells in new:
            self.add_row(*cells, key=name)
        keys = [name for name, _ in new]
        self.move_cursor(
            row=keys.index(key) if key in keys else min(row, max(len(keys) - 1, 0)), scroll=False
        )
        self.scroll_to(y=scroll, animate=False)
        self.call_after_refresh(self._scroll_cursor_into_view)
