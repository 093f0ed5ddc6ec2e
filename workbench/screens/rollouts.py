"""The answers that a GRPO run practised with, group by group, as they come."""

from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import Screen
from textual.widgets import DataTable, Static

from workbench.run_reader import RunReader
from workbench.run_views import rollout_line, rollout_text
from workbench.visible import visible
from workbench.widgets.footer import Footer
from workbench.widgets.strip import NameStrip
from workbench.widgets.table import StillTable

POLL_SECONDS = 1.0


class RolloutsScreen(Screen[None]):
    """A list of groups, the newest first; the chosen one in full."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,o", "dismiss", "Back"),
        Binding("w", "only_mixed", "Only groups with both right and wrong"),
    ]

    def __init__(self, reader: RunReader) -> None:
        super().__init__()
        self.reader = reader
        self.is_mixed_only = False
        self._seen: list[dict[str, Any]] = []

    def compose(self) -> ComposeResult:
        yield NameStrip([("", f"rollouts of {visible(self.reader.path.name)}")], "")
        with Horizontal():
            yield StillTable(id="groups")
            with VerticalScroll(id="group"):
                yield Static(id="group-text")
        yield Footer()

    def on_mount(self) -> None:
        table = self.query_one(StillTable)
        table.show_header = False
        table.focus()
        self._fill()
        self.set_interval(POLL_SECONDS, self._read)

    @work(exclusive=True)
    async def _read(self) -> None:
        await self.reader.catch_up(lambda: None)
        # Whether there is something new is not asked of the reader: the monitor may have read it.
        if self.reader.rollouts is not self._seen:
            self._fill()

    def _groups(self) -> list[dict[str, Any]]:
        groups = list(reversed(self.reader.rollouts))
        if self.is_mixed_only:
            groups = [group for group in groups if len({_is_right(a) for a in group["answers"]}) == 2]
        return groups

    def _fill(self) -> None:
        if not self.display or not self.query(StillTable):
            return  # The screen is closing.
        self._seen = self.reader.rollouts
        width = max(self.query_one(StillTable).size.width - 3, 20)
        rows = [(_key(group), [rollout_line(group, width)]) for group in self._groups()]
        self.query_one(StillTable).show(("group",), rows)
        self.query_one(NameStrip).note(f"{len(rows)} groups")
        self._show()

    def on_resize(self) -> None:
        self.call_after_refresh(self._fill)

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        self._show()

    def _show(self) -> None:
        key = self.query_one(StillTable).key
        group = next((group for group in self.reader.rollouts if _key(group) == key), None)
        self.query_one("#group-text", Static).update("" if group is None else rollout_text(group))

    def action_only_mixed(self) -> None:
        """Show all groups, or only those from which something can be learned."""
        self.is_mixed_only = not self.is_mixed_only
        self._fill()


def _key(group: dict[str, Any]) -> str:
    return f"{group.get('step')} {group.get('index')}"


def _is_right(answer: object) -> bool:
    return isinstance(answer, dict) and bool(answer.get("correct"))
