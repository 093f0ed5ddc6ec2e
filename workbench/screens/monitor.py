"""Watch runs while they train, steer them, begin new ones."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Static

from picochat.errors import UserError
from picochat.train.run_dir import RunDir
from workbench import clock, run_actions
from workbench.canvas import COLOURS, Line
from workbench.run_reader import RunReader
from workbench.run_tree import STATES
from workbench.run_views import events_text, log_text, progress_text, rollout_line, samples_text
from workbench.runs import Facts, Scanner
from workbench.screens.dialogs import Confirm
from workbench.screens.new_run import NewRun
from workbench.screens.rollouts import RolloutsScreen
from workbench.visible import visible
from workbench.widgets.footer import Footer
from workbench.widgets.plot import Plot
from workbench.widgets.run_curves import chart_metrics, metric_lines
from workbench.widgets.strip import ModeStrip, NameStrip
from workbench.widgets.table import StillTable

if TYPE_CHECKING:
    from workbench.app import Workbench

POLL_SECONDS = 1.0
PARTS = ("samples", "rollouts", "events", "log")
SMOOTHINGS: tuple[float | None, ...] = (None, 0.0, 10.0, 50.0, 200.0)
"""Steps; None is a fortieth of the run."""
MOST_OVERLAYS = len(COLOURS)
MOST_CHARTS = 4


class MonitorScreen(Screen[None]):
    """The runs at the left; the curves of the one that is watched, and what it says."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "watch", "Watch", show=False, priority=True, id="monitor-watch"),
        Binding("space", "overlay", "Overlay", id="monitor-overlay"),
        Binding("p", "send('pause')", "Pause", id="monitor-pause"),
        Binding("r", "go_on", "Resume", id="monitor-go-on"),
        Binding("c", "send('checkpoint')", "Save", show=False, id="monitor-checkpoint"),
        Binding("x", "stop_run", "Stop", id="monitor-stop-run"),
        Binding("n", "new_run", "New run", id="monitor-new-run"),
        Binding("l", "log", "Log axis", id="monitor-log"),
        Binding("s", "smooth", "Smooth", show=False, id="monitor-smooth"),
        Binding("z", "grid", "One chart or four", show=False, id="monitor-grid"),
        Binding(
            "right_square_bracket,full_stop", "metric(1)", "Next curve", show=False, id="monitor-metric-next"
        ),
        Binding(
            "left_square_bracket,comma", "metric(-1)", "Curve before", show=False, id="monitor-metric-before"
        ),
        Binding("o", "rollouts", "Rollouts", show=False, id="monitor-rollouts"),
        *(
            Binding(str(number), f"part('{part}')", f"Show {part}", show=False, id=f"monitor-part-{part}")
            for number, part in enumerate(PARTS, 1)
        ),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Facts] = []
        self.watched = ""
        """Name of the run whose curves are shown."""
        self.overlaid: list[str] = []
        self.is_log = False
        self.smoothing = 0
        self.is_grid = True
        self.metric = 0
        """Which of the run's curves comes first."""
        self._reading = asyncio.Lock()
        self._readers: dict[str, RunReader] = {}

    @property
    def workbench(self) -> "Workbench":
        """The app."""
        return cast("Workbench", self.app)

    def compose(self) -> ComposeResult:
        self._scanner = Scanner(self.workbench.runs_dir)
        yield ModeStrip("monitor")
        with Horizontal(id="body"):
            yield StillTable(id="watchable")
            with Vertical(id="right"):
                yield Static(id="progress")
                with Vertical(id="charts"):
                    for row in range(2):
                        with Horizontal(classes="chart-row"):
                            for column in range(2):
                                yield Plot(id=f"plot{2 * row + column}")
                yield NameStrip([(str(n), part) for n, part in enumerate(PARTS, 1)], PARTS[0], id="parts")
                with ContentSwitcher(initial="samples", id="said"):
                    for part in PARTS:
                        with VerticalScroll(id=part):
                            yield Static(id=f"{part}-text")
        yield Footer()

    def on_mount(self) -> None:
        table = self.query_one(StillTable)
        table.show_header = False
        table.focus()
        self.poll()
        self.set_interval(POLL_SECONDS, self.poll)

    def on_screen_resume(self) -> None:
        self.poll()

    def on_resize(self) -> None:
        self._draw()

    # What is read

    def poll(self) -> None:
        """Read what the runs have written; nothing happens while another screen is in front."""
        if self.is_current and not self._reading.locked():
            self._read(self._scanner)

    @work(exclusive=True, group="read")
    async def _read(self, scanner: Scanner) -> None:
        async with self._reading:
            # A checkpoint by itself has nothing to be watched.
            self.found = [facts for facts in await asyncio.to_thread(scanner.scan) if facts.kind != "weights"]
            self._choose()
            self._draw()
            for name in self._shown_names():
                await self._reader(name).catch_up(self._draw)

    def _choose(self) -> None:
        """Watch another run if the one that was watched is gone: a live one, or else the newest."""
        names = [facts.name for facts in self.found]
        if self.watched not in names:
            live = [facts.name for facts in self.found if facts.is_live]
            newest = sorted(self.found, key=lambda facts: facts.created or 0.0)
            self.watched = live[-1] if live else newest[-1].name if newest else ""
        self.overlaid = [name for name in self.overlaid if name in names]

    def _shown_names(self) -> list[str]:
        names = [self.watched, *(name for name in self.overlaid if name != self.watched)]
        return [name for name in names if name]

    def _reader(self, name: str) -> RunReader:
        path: Path = self.workbench.runs_dir / name
        if name not in self._readers:
            self._readers[name] = RunReader(path)
        return self._readers[name]

    def attach(self, name: str) -> None:
        """Watch a run."""
        self.watched, self.metric = name, 0
        self._read(self._scanner)

    @property
    def facts(self) -> Facts | None:
        """What is known of the run that is watched."""
        return next((facts for facts in self.found if facts.name == self.watched), None)

    # What is shown

    def _draw(self) -> None:
        if not self.display or not self.query(StillTable):
            return  # The app is ending, or has not begun.
        self._draw_list()
        facts = self.facts
        if facts is None:
            text = Text(f"no runs in {self.workbench.runs_dir} yet: n begins one")
            self.query_one("#progress", Static).update(text)
            return
        reader = self._reader(facts.name)
        width = self.query_one("#progress").size.width
        told = progress_text(facts, reader.curves.last_step, now=clock.now(), width=width)
        self.query_one("#progress", Static).update(told)
        live = sum(facts.is_live for facts in self.found)
        note = f"reading {reader.share_read:.0%}" if reader.is_behind else f"{live} live"
        note += f" · {reader.damaged} damaged lines" if reader.damaged else ""
        self.query_one(ModeStrip).note(note)
        self._draw_charts(reader)
        self._draw_said(reader)

    def _draw_list(self) -> None:
        rows = []
        for facts in sorted(self.found, key=lambda facts: (not facts.is_live, -(facts.created or 0.0))):
            state = facts.state or ("damaged" if facts.kind == "damaged" else "")
            mark, colour = STATES.get(state, (" ", ""))
            text = Text.assemble((f"{mark} ", colour), no_wrap=True, overflow="ellipsis")
            is_shown = facts.name in self._shown_names()
            place = self._shown_names().index(facts.name) if is_shown else 0
            style = f"bold {COLOURS[place % len(COLOURS)]}" if is_shown else ""
            text.append("━" if is_shown else " ", style)
            text.append(f" {visible(facts.name)}", "bold" if facts.name == self.watched else "")
            rows.append((facts.name, [text]))
        self.query_one(StillTable).show(("run",), rows)

    def _draw_charts(self, reader: RunReader) -> None:
        facts = self.facts
        metrics = chart_metrics(reader.curves, facts.stage if facts else "")
        wide, high = self.has_class("-wide"), self.has_class("-high")
        count = MOST_CHARTS if self.is_grid and wide and high else 2 if self.is_grid and high else 1
        for index, plot in enumerate(self.query(Plot)):
            plot.display = index == 0 or (index < count and index < max(len(metrics), 1))
        rows = list(self.query(".chart-row"))
        for row in rows:
            row.display = any(plot.display for plot in row.query(Plot))
        for index, plot in enumerate(self.query(Plot)):
            if not plot.display:
                continue
            metric = metrics[(self.metric + index) % len(metrics)] if metrics else ""
            plot.empty = "no steps yet"
            plot.is_log = self.is_log
            plot.show(self._lines(metric), metric or "loss")

    def _lines(self, metric: str) -> list[Line]:
        lines: list[Line] = []
        names = self._shown_names()
        span = SMOOTHINGS[self.smoothing]
        for index, name in enumerate(names):
            curves = self._reader(name).curves
            label = name if len(names) > 1 else ""
            colour = COLOURS[index % len(COLOURS)]
            lines += metric_lines(curves, metric, label, colour, smoothing=span)
        if metric == "loss" and len(names) == 1:
            held_out = metric_lines(self._reader(names[0]).curves, "eval val_loss", "validation", COLOURS[1])
            lines += held_out
        return lines

    def _draw_said(self, reader: RunReader) -> None:
        part = self.query_one(ContentSwitcher).current
        width = self.query_one("#said").size.width - 4
        match part:
            case "samples":
                text = samples_text(reader.samples[-40:])
            case "rollouts":
                lines = [rollout_line(group, width) for group in reversed(reader.rollouts[-60:])]
                is_grpo = self.facts is not None and self.facts.stage == "grpo"
                said = "no rollouts yet" if is_grpo else "no rollouts: only GRPO has them"
                text = Text("\n").join(lines) or Text(said, "dim")
            case "events":
                text = events_text(reader.events)
            case _:
                text = log_text(reader.log[-60:])
        self.query_one(f"#{part}-text", Static).update(text)

    def on_name_strip_chosen(self, event: NameStrip.Chosen) -> None:
        self.action_part(event.choice)

    def action_part(self, part: str) -> None:
        """Show samples, rollouts, events or the log below the curves."""
        self.query_one("#parts", NameStrip).chosen = part
        self.query_one(ContentSwitcher).current = part
        self._draw()

    def action_log(self) -> None:
        """Switch between a linear and a logarithmic axis."""
        self.is_log = not self.is_log
        self._draw()

    def action_smooth(self) -> None:
        """Smooth the curves more, or no longer."""
        self.smoothing = (self.smoothing + 1) % len(SMOOTHINGS)
        span = SMOOTHINGS[self.smoothing]
        self.notify(
            "smoothed over a fortieth of the run" if span is None
            else f"smoothed over {span:.0f} steps" if span else "not smoothed"
        )  # fmt: skip
        self._draw()

    def action_grid(self) -> None:
        """Show one chart or several."""
        self.is_grid = not self.is_grid
        self._draw()

    def action_metric(self, distance: int) -> None:
        """Go to another curve of the run."""
        self.metric += distance
        self._draw()

    def on_plot_moved(self, event: Plot.Moved) -> None:
        for plot in self.query(Plot):
            if plot is not event.plot:
                plot.set_reactive(Plot.cursor, event.step)
                plot.refresh()

    # What is done

    @property
    def chosen(self) -> str:
        """The run that the cursor of the list is at."""
        return self.query_one(StillTable).key

    def on_data_table_row_selected(self) -> None:
        self.action_watch()

    def action_watch(self) -> None:
        """Show the curves of the run under the cursor."""
        if self.chosen:
            self.attach(self.chosen)

    def action_overlay(self) -> None:
        """Draw the curves of the run under the cursor too, or no longer."""
        name = self.chosen
        if not name or name == self.watched:
            return
        if name in self.overlaid:
            self.overlaid.remove(name)
        elif len(self.overlaid) + 1 < MOST_OVERLAYS:
            self.overlaid.append(name)
        self._read(self._scanner)

    def action_send(self, command: str) -> None:
        """Ask the watched run for something."""
        if not self.watched:
            return
        try:
            done = run_actions.steer(RunDir(self.workbench.runs_dir / self.watched), command)
            self.notify(visible(done), markup=False)
        except (UserError, OSError) as error:
            self._complain(error)

    @work
    async def action_stop_run(self) -> None:
        """Stop the watched run after a question; it saves and can be resumed."""
        question = f"stop {visible(self.watched)}? it saves first and can be resumed"
        if self.watched and await self.app.push_screen_wait(Confirm(question)):
            self.action_send("stop")

    @work
    async def action_go_on(self) -> None:
        """Let a paused run go on; begin a stopped or crashed one again from its newest checkpoint."""
        facts = self.facts
        if facts is None:
            return
        if facts.is_live:
            self.action_send("resume")
            return
        if facts.kind != "run" or facts.state == "finished":
            self._complain(UserError(f"{facts.name} has nothing left to do"))
            return
        question = f"start a process that goes on with {visible(facts.name)}, which has {facts.state}?"
        if await self.app.push_screen_wait(Confirm(question)):
            self._start(facts.stage, [], facts.name, is_new=False)

    @work
    async def action_new_run(self) -> None:
        """Begin a run, from a form."""
        names = [facts.name for facts in self.found if facts.checkpoints or facts.kind == "weights"]
        asked = await self.app.push_screen_wait(NewRun(self.workbench.runs_dir, names, self.watched))
        if asked is not None:
            self._start(asked.stage, asked.arguments, asked.name, is_new=True)

    def _start(self, stage: str, arguments: list[str], name: str, *, is_new: bool) -> None:
        runs_dir = self.workbench.runs_dir
        try:
            run_actions.start(stage, arguments, name=name, runs_dir=runs_dir, is_new=is_new)
        except (UserError, OSError) as error:
            self._complain(error)
            return
        self.notify(f"{visible(name)} begins; it goes on when the workbench ends", markup=False)
        self._readers.pop(name, None)
        self.action_part("log")
        self.attach(name)

    def action_rollouts(self) -> None:
        """Read the answers of a GRPO run, group by group."""
        if self.watched and self._reader(self.watched).rollouts:
            self.app.push_screen(RolloutsScreen(self._reader(self.watched)))
        else:
            self._complain(UserError(f"{self.watched} has no rollouts; only GRPO writes them"))

    def _complain(self, error: Exception) -> None:
        self.notify(visible(str(error)), severity="warning", markup=False)
