"""The runs and their checkpoints: look at them, load, rename, delete, compare, steer."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import Screen
from textual.widgets import ContentSwitcher, DataTable, Input, Static

from picochat.errors import UserError
from picochat.train.run_dir import RunDir
from workbench import clock, run_actions
from workbench.run_reader import RunReader
from workbench.run_tree import COLUMNS, ORDERS, Row, cells, tree_rows
from workbench.run_views import changed_options, changed_text, config_text, facts_text, log_text, samples_text
from workbench.runs import Facts, Scanner
from workbench.screens.dialogs import Ask, Confirm
from workbench.visible import visible
from workbench.widgets.footer import Footer
from workbench.widgets.inputs import LineInput
from workbench.widgets.plot import Plot
from workbench.widgets.run_curves import run_lines
from workbench.widgets.strip import ModeStrip, NameStrip
from workbench.widgets.table import StillTable

if TYPE_CHECKING:
    from workbench.app import Workbench

ScreenType = TypeVar("ScreenType", bound=Screen)

POLL_SECONDS = 2.0
PARTS = ("overview", "samples", "config", "log")


class CheckpointsScreen(Screen[None]):
    """A row for each run, and one for each of its checkpoints; what is known of the chosen one below."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "load", "Chat with it", priority=True, id="runs-load"),
        Binding("m", "monitor", "Monitor", id="runs-monitor"),
        Binding("v", "compare", "Compare", id="runs-compare"),
        Binding("t", "tensors", "Tensors", id="runs-tensors"),
        Binding("space", "mark", "Mark for comparison", show=False, id="runs-mark"),
        Binding("slash", "filter", "Filter", id="runs-filter"),
        Binding("s", "sort", "Sort", id="runs-sort"),
        Binding("f", "fold", "Fold", show=False, id="runs-fold"),
        Binding("e", "rename", "Rename", show=False, id="runs-rename"),
        Binding("d", "delete", "Delete", id="runs-delete"),
        Binding("p", "send('pause')", "Pause the run", show=False, id="runs-pause"),
        Binding("r", "send('resume')", "Go on with a paused run", show=False, id="runs-resume"),
        Binding("c", "send('checkpoint')", "Save a checkpoint", show=False, id="runs-checkpoint"),
        Binding("x", "stop_run", "Stop the run", show=False, id="runs-stop-run"),
        Binding("escape", "unfilter", "Drop the filter", show=False, id="runs-unfilter"),
        *(
            Binding(str(number), f"part('{part}')", f"Show {part}", show=False, id=f"runs-part-{part}")
            for number, part in enumerate(PARTS, 1)
        ),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self.marked = ""
        self.order = ORDERS[0]
        self.words = ""
        self.folded: set[str] = set()
        self._found: list[Facts] = []
        self._scanning = asyncio.Lock()
        self._readers: dict[Path, RunReader] = {}

    @property
    def workbench(self) -> "Workbench":
        """The app."""
        return cast("Workbench", self.app)

    def compose(self) -> ComposeResult:
        self._scanner = Scanner(self.workbench.runs_dir)
        yield ModeStrip("checkpoints")
        yield StillTable(id="runs")
        yield LineInput(placeholder="words that a run's name, stage, state or parent holds", id="filter")
        yield NameStrip([(str(n), part) for n, part in enumerate(PARTS, 1)], PARTS[0], id="parts")
        with ContentSwitcher(initial="overview", id="detail"):
            with Horizontal(id="overview"):
                with VerticalScroll(id="facts-box"):
                    yield Static(id="facts")
                yield Plot("loss", id="curve", is_log=True)
            for part in PARTS[1:]:
                with VerticalScroll(id=part):
                    yield Static(id=f"{part}-text")
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(DataTable).focus()
        self.refresh_runs()
        self.set_interval(POLL_SECONDS, self._poll)

    def on_screen_resume(self) -> None:
        self.refresh_runs()

    def on_resize(self) -> None:
        self._fill()

    # What is shown

    def refresh_runs(self) -> None:
        """Look at the folder of runs again; cursor and scrolling stay where they are."""
        if self.is_current:
            self._scan(self._scanner)

    def _poll(self) -> None:
        if not self._scanning.locked():
            self.refresh_runs()

    @work(group="scan")
    async def _scan(self, scanner: Scanner) -> None:
        async with self._scanning:
            self._found = await asyncio.to_thread(scanner.scan)
        self._fill()

    def _fill(self) -> None:
        if not self.display or not self.query(StillTable):
            return  # The app is ending, or has not begun.
        self.rows = tree_rows(self._found, order=self.order, words=self.words, folded=self.folded)
        columns = next(names for width, names in COLUMNS if self.size.width >= width)
        now = clock.now()
        table = self.query_one(StillTable)
        table.show(
            columns, [(row.key, cells(row, columns, now=now, marked=self.marked)) for row in self.rows]
        )
        live = sum(facts.is_live for facts in self._found)
        note = f"{len(self._found)} runs in {self.workbench.runs_dir}"
        note += f" · {live} live" if live else ""
        note += f" · by {self.order}" if self.order != ORDERS[0] else ""
        self.query_one(ModeStrip).note(f"{note} · /{self.words}" if self.words else note)
        self._show_detail()

    @property
    def row(self) -> Row | None:
        """The row that the cursor is at."""
        key = self.query_one(StillTable).key
        return next((row for row in self.rows if row.key == key), None)

    @property
    def chosen(self) -> str:
        """Key of the row that the cursor is at; empty if there are no runs."""
        return self.row.key if self.row else ""

    def on_data_table_row_highlighted(self) -> None:
        self._show_detail()

    @work(exclusive=True, group="detail")
    async def _show_detail(self) -> None:
        row = self.row
        if row is None:
            said = "nothing matches the filter" if self.words else f"no runs in {self.workbench.runs_dir} yet"
            self.query_one("#facts", Static).update(f"{said}\n\npicochat demo makes some; F4 n begins one")
            self.query_one(Plot).show([], "loss")
            return
        facts = facts_text(row, clock.now())
        changed = changed_text(row.facts)
        if changed:
            facts.append("\n")
            facts.append_text(changed)
        self.query_one("#facts", Static).update(facts)
        self.query_one("#config-text", Static).update(config_text(row.facts, changed_options(row.facts)))
        reader = self._reader(row.facts.path)
        self._show_reader(row, reader)
        await reader.catch_up(lambda: self._show_reader(row, reader))

    def _reader(self, path: Path) -> RunReader:
        """Return what has been read of a run; that of few is kept."""
        reader = self._readers.pop(path, None) or RunReader(path)
        self._readers[path] = reader
        while len(self._readers) > 4:
            del self._readers[next(iter(self._readers))]
        return reader

    def _show_reader(self, row: Row, reader: RunReader) -> None:
        if not self.display or not self.query(Plot):
            return
        plot = self.query_one(Plot)
        plot.empty = "no steps yet" if row.facts.kind == "run" else "no curve"
        title = "loss" if not reader.is_behind else f"loss, reading {reader.share_read:.0%}"
        plot.show(run_lines(reader.curves), title)
        plot.cursor = None if row.checkpoint is None else float(row.checkpoint.step)
        self.query_one("#samples-text", Static).update(samples_text(reader.samples[-60:]))
        self.query_one("#log-text", Static).update(log_text(reader.log))

    def action_part(self, part: str) -> None:
        """Show another part of what is known."""
        self.query_one("#parts", NameStrip).chosen = part
        self.query_one(ContentSwitcher).current = part

    def on_name_strip_chosen(self, event: NameStrip.Chosen) -> None:
        self.action_part(event.choice)

    def action_filter(self) -> None:
        """Ask for words that runs have to hold."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.words = event.value
        self._fill()

    def on_input_submitted(self) -> None:
        self.query_one(DataTable).focus()

    def action_unfilter(self) -> None:
        """Show all runs again."""
        field = self.query_one("#filter", Input)
        field.value = ""
        field.display = False
        self.query_one(DataTable).focus()

    def action_sort(self) -> None:
        """Order the runs in the next way."""
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]
        self._fill()

    def action_fold(self) -> None:
        """Hide the checkpoints of the run, or show them again."""
        if self.row:
            self.folded ^= {self.row.facts.name}
            self._fill()

    # What is done

    def _weights(self, row: Row) -> str:
        """Return what names the row's weights: NAME, NAME@STEP, or a path."""
        return str(row.facts.path) if row.facts.kind == "weights" else row.name

    def action_load(self) -> None:
        """Open the checkpoint (a run's newest one) and chat with it."""
        if isinstance(self.focused, Input):
            self.query_one(DataTable).focus()
        elif row := self.row:
            self.workbench.open_checkpoint(self._weights(row))
            self.app.switch_mode("chat")

    def action_mark(self) -> None:
        """Mark the checkpoint as one side of a comparison, or take the mark away."""
        if self.row:
            self.marked = "" if self.marked == self.chosen else self.chosen
            self._fill()

    @work
    async def action_compare(self) -> None:
        """Put the marked checkpoint and this one side by side."""
        from workbench.screens.compare import CompareScreen

        if (row := self.row) is None:
            return
        other = next((one for one in self.rows if one.key == self.marked), None)
        first = self._weights(other or row)
        screen = await self._go_to("compare", CompareScreen)
        if screen is not None:
            screen.open(first, self._weights(row) if other else "")

    @work
    async def action_tensors(self) -> None:
        """Look into the checkpoint's weights."""
        from workbench.screens.tensors import TensorsScreen

        if (row := self.row) is None:
            return
        path = row.checkpoint.path if row.checkpoint else row.facts.path
        if row.checkpoint is None and row.facts.checkpoints:
            path = row.facts.checkpoints[-1].path
        screen = await self._go_to("tensors", TensorsScreen)
        if screen is not None:
            screen.open(path / "model.safetensors")

    @work
    async def action_monitor(self) -> None:
        """Watch the run."""
        from workbench.screens.monitor import MonitorScreen

        row = self.row
        screen = await self._go_to("monitor", MonitorScreen)
        if screen is not None and row is not None:
            screen.attach(row.facts.name)

    async def _go_to(self, mode: str, kind: type[ScreenType]) -> ScreenType | None:
        """Show another screen and return it; None if keys have led elsewhere, or there before it is built."""
        await self.app.switch_mode(mode)
        # A dialog may lie over it by now.
        stack = self.app.screen_stack
        return next((screen for screen in stack if isinstance(screen, kind) and screen.is_mounted), None)

    @work
    async def action_delete(self) -> None:
        """Delete the checkpoint, or the whole run, after a question."""
        if (row := self.row) is None:
            return
        path = row.checkpoint.path if row.checkpoint else row.facts.path
        try:
            if row.facts.kind == "run":
                run_actions.refuse_if_live(RunDir(row.facts.path))
            began = [run.name for run in run_actions.children(self.workbench.runs_dir, path)]
            hint = f"\n\n{', '.join(began)} began from it" if began else ""
            what = "checkpoint" if row.checkpoint else "run and all that is in it"
            if await self.app.push_screen_wait(Confirm(f"delete the {what}?\n{visible(f'{path}{hint}')}")):
                await asyncio.to_thread(run_actions.delete, path)
        except (UserError, OSError) as error:
            self._complain(error)
        self.refresh_runs()

    @work
    async def action_rename(self) -> None:
        """Give the run another name."""
        if (row := self.row) is None:
            return
        question = f"a new name for {visible(row.facts.name)}"
        name = await self.app.push_screen_wait(Ask(question, row.facts.name))
        if not name or name == row.facts.name:
            return
        try:
            run_actions.rename(RunDir(row.facts.path), name, self.workbench.runs_dir)
        except (UserError, OSError) as error:
            self._complain(error)
        self.refresh_runs()

    def action_send(self, command: str) -> None:
        """Ask the run that the cursor is at for something."""
        if self.row is None:
            return
        try:
            self.notify(run_actions.steer(RunDir(self.row.facts.path), command), markup=False)
        except (UserError, OSError) as error:
            self._complain(error)

    @work
    async def action_stop_run(self) -> None:
        """Stop a run after a question; it saves and can be resumed."""
        if self.row and await self.app.push_screen_wait(Confirm(f"stop {visible(self.row.facts.name)}?")):
            self.action_send("stop")

    def _complain(self, error: Exception) -> None:
        self.notify(visible(str(error)), severity="warning", markup=False)
