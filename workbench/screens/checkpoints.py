"""The runs and their checkpoints: look at them, load one, delete one."""

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Static

from picochat.commands.runs_view import age, overview
from picochat.commands.text_plot import curve, smooth
from picochat.errors import UserError
from picochat.train.run_dir import RunDir, list_runs
from workbench.screens.dialogs import Confirm
from workbench.visible import visible

if TYPE_CHECKING:
    from workbench.app import Workbench

COLUMNS = ("run", "stage", "state", "step", "loss", "score", "params", "age", "size", "parent", "curve")
POLL_SECONDS = 2.0
CURVE_HEIGHT = 6
STATES = {"running": "● ", "paused": "‖ ", "crashed": "✗ ", "failed": "✗ "}
"""Marks, so that a state is not told by colour alone."""


class CheckpointsScreen(Screen[None]):
    """A row for each run, and one for each of its checkpoints."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "load", "Load", priority=True),
        Binding("d", "delete", "Delete"),
        Binding("p", "send('pause')", "Pause"),
        Binding("r", "send('resume')", "Resume"),
        Binding("c", "send('checkpoint')", "Save a checkpoint"),
        Binding("x", "stop_run", "Stop the run"),
    ]

    @property
    def workbench(self) -> "Workbench":
        """The app."""
        return cast("Workbench", self.app)

    def compose(self) -> ComposeResult:
        yield DataTable(id="runs", cursor_type="row")
        with VerticalScroll(id="detail"):
            yield Static(id="facts")
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(DataTable).add_columns(*COLUMNS)
        self.refresh_runs()
        self.set_interval(POLL_SECONDS, self.refresh_runs)

    def refresh_runs(self) -> None:
        """Read the folder of runs anew; the cursor stays where it was."""
        if not self.is_current:
            return
        table = self.query_one(DataTable)
        row = table.cursor_row
        table.clear()
        for run in list_runs(self.workbench.runs_dir):
            try:
                facts = overview(run)
            except (UserError, OSError) as error:
                cells = [run.name, "", "✗ damaged", "", "", "", "", "", "", "", str(error)]
            else:
                facts["state"] = STATES.get(facts["state"], "") + facts["state"]
                cells = [str(facts[name]) for name in COLUMNS]
            table.add_row(*(Text(visible(cell)) for cell in cells), key=run.name)
            self._add_checkpoints(table, run)
        table.move_cursor(row=row)

    def _add_checkpoints(self, table: DataTable[Text], run: RunDir) -> None:
        for step, score in run.scores().items():
            made = (run.checkpoints()[step] / "MANIFEST.json").stat().st_mtime
            cells = [f"  └ {step}", "", "", str(step), "", "" if score is None else f"{score:.4f}", ""]
            cells += [age(time.time() - made), "", "", ""]
            table.add_row(*(Text(visible(cell)) for cell in cells), key=f"{run.name}@{step}")

    @property
    def chosen(self) -> str:
        """What the cursor is at: NAME or NAME@STEP; empty if there are no runs."""
        table = self.query_one(DataTable)
        if not table.row_count:
            return ""
        return str(table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value)

    @property
    def run_dir(self) -> RunDir:
        """The run that the cursor is at."""
        return RunDir(self.workbench.runs_dir / self.chosen.partition("@")[0])

    def on_data_table_row_highlighted(self) -> None:
        try:
            self.query_one("#facts", Static).update(self._describe() if self.chosen else "no runs yet")
        except (UserError, OSError) as error:
            self.query_one("#facts", Static).update(Text(visible(str(error))))

    def _describe(self) -> Text:
        run = self.run_dir
        info = run.info()
        text = Text(f"{visible(self.chosen)}  {info['stage']}\n", style="bold")
        rows = run.rows("step")
        if len(rows) > 1:
            losses = smooth([row["loss"] for row in rows], 20)
            width = max(20, self.size.width - 14)
            lines = curve([row["step"] for row in rows], losses, width=width, height=CURVE_HEIGHT)
            text.append("\n".join(lines) + "\n", "not bold")
        options = "  ".join(f"--{name.replace('_', '-')} {value}" for name, value in info["options"].items())
        model = "  ".join(f"{name} {value}" for name, value in info.get("model", {}).items())
        text.append(visible(f"{model}\n{options}\n"), "not bold")
        for sample in run.samples()[-4:]:
            text.append(visible(f"step {sample['step']}: {sample['prompt']!r} "), "not bold dim")
            text.append(visible(f"{sample['text']!r}\n"), "not bold")
        return text

    def action_load(self) -> None:
        """Open the checkpoint (a run's newest one) and chat with it."""
        if self.chosen:
            self.workbench.open_checkpoint(self.chosen)
            self.app.switch_mode("chat")

    @work
    async def action_delete(self) -> None:
        """Delete the checkpoint, or the whole run, after a question."""
        chosen, run = self.chosen, self.run_dir
        if not chosen:
            return
        if run.is_live():
            self.notify(
                f"{visible(run.name)} is in training; stop it first", severity="warning", markup=False
            )
            return
        path = run.checkpoints()[int(chosen.rpartition("@")[2])] if "@" in chosen else Path(run.path)
        if await self.app.push_screen_wait(Confirm(f"delete {visible(str(path))}?")):
            shutil.rmtree(path)
            self.refresh_runs()

    def action_send(self, command: str) -> None:
        """Ask the run that the cursor is at for something."""
        if not self.chosen:
            return
        run = self.run_dir
        if not run.is_live():
            self.notify(f"{visible(run.name)} is not in training", severity="warning", markup=False)
            return
        match command:
            case "pause" | "resume" | "checkpoint" | "stop":
                run.send(command)
        self.notify(f"asked {visible(run.name)} to {command}", markup=False)

    @work
    async def action_stop_run(self) -> None:
        """Stop a run after a question; it saves and can be resumed."""
        if self.chosen and await self.app.push_screen_wait(Confirm(f"stop {visible(self.run_dir.name)}?")):
            self.action_send("stop")
