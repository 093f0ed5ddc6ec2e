"""What is in a safetensors file: names and shapes at once, values when asked for, differences of two."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import DataTable, Input, Static

from picochat.commands.runs_view import short_bytes, short_count
from picochat.errors import UserError
from workbench.canvas import short
from workbench.runs import Scanner
from workbench.screens.dialogs import Choose, typed_path
from workbench.tensor_client import TensorClient
from workbench.tensor_files import TensorFacts, TensorFile
from workbench.tensor_views import heat_map, stats_text
from workbench.visible import visible
from workbench.widgets.footer import Footer
from workbench.widgets.inputs import LineInput
from workbench.widgets.strip import ModeStrip
from workbench.widgets.table import StillTable

if TYPE_CHECKING:
    from workbench.app import Workbench

QUICK = 1 << 22
"""Tensors of so many values are measured as soon as the cursor rests on them."""
REST_SECONDS = 0.15
ORDERS = ("name", "size", "value")


class TensorsScreen(Screen[None]):
    """A row for each tensor; the chosen one's statistics and histogram, or a map of all layers, beside it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "stats", "Measure", priority=True, id="tensors-stats"),
        Binding("a", "survey", "Measure all", id="tensors-survey"),
        Binding("d", "difference", "Difference", id="tensors-difference"),
        Binding("h", "heat", "Map", id="tensors-heat"),
        Binding("o", "choose", "Open", id="tensors-choose"),
        Binding("slash", "filter", "Filter", id="tensors-filter"),
        Binding("s", "sort", "Sort", id="tensors-sort"),
        Binding("l", "log", "Log counts", show=False, id="tensors-log"),
        Binding("escape", "back", "Back", show=False, id="tensors-back"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.file: TensorFile | None = None
        self.other: Path | None = None
        """The file that `file` is compared with."""
        self.measured: dict[str, dict[str, Any]] = {}
        """Statistics, or differences, by tensor."""
        self.stats: dict[str, dict[str, Any]] = {}
        """Full statistics with a histogram, by tensor."""
        self.words = ""
        self.order = ORDERS[0]
        self.is_map = False
        self.is_log = False
        self._problem = "no file: o opens one; t on a checkpoint (F3) shows its weights"
        self._client = TensorClient()
        self._quick = TensorClient()
        """For single tensors: they do not wait for, nor end, what takes long."""
        self._busy = ""
        self._is_due = False
        self._resting: Timer | None = None

    @property
    def workbench(self) -> "Workbench":
        """The app."""
        return cast("Workbench", self.app)

    def compose(self) -> ComposeResult:
        yield ModeStrip("tensors")
        yield Static(id="file")
        with Container(id="tensor-body"):
            yield StillTable(id="tensors")
            with VerticalScroll(id="tensor-detail"):
                yield Static(id="tensor-text")
        yield LineInput(placeholder="words that a tensor's name or number format holds", id="filter")
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(DataTable).focus()
        self._fill()

    def on_resize(self) -> None:
        self.call_after_refresh(self._fill)

    async def on_unmount(self) -> None:
        await self._client.close()
        await self._quick.close()

    # Opening

    def open(self, path: Path) -> None:
        """Show the header of a file."""
        self._forget_measured()
        self.workers.cancel_group(self, "stats")
        self.file, self.stats = None, {}
        try:
            self.file = TensorFile.read(path)
        except (UserError, OSError) as error:
            self._problem = str(error)
        self._fill()
        self.query_one(DataTable).focus()
        # Where the names are those of the file before, the cursor does not move.
        self._rest_soon()

    def _files(self, words: str) -> list[tuple[str, str]]:
        """Return weights and optimizer states of all checkpoints, and a path that was typed."""
        found = []
        for facts in Scanner(self.workbench.runs_dir).scan():
            folders = [(f"{facts.name}@{c.step}", c.path) for c in reversed(facts.checkpoints)]
            if facts.kind == "weights":
                folders = [(facts.name, facts.path)]
            for name, folder in folders:
                found += [
                    (str(folder / file), f"{name}  {file.removesuffix('.safetensors')}")
                    for file in ("model.safetensors", "optimizer.safetensors")
                    if (folder / file).is_file()
                ]
        found = [(path, name) for path, name in found if all(word in name for word in words.split())]
        typed = typed_path(words)
        return [(words, f"the file {words}"), *found] if words and typed.is_file() else found

    @work
    async def action_choose(self) -> None:
        """Open another file."""
        path = await self.app.push_screen_wait(Choose("open: a checkpoint, or type a path", self._files))
        if path:
            self.open(typed_path(path))

    @work
    async def action_difference(self) -> None:
        """Compare with another file, tensor by tensor."""
        if self.file is None:
            return
        path = await self.app.push_screen_wait(Choose("compare with", self._files))
        if path:
            self.compare(typed_path(path))

    # Measuring

    def compare(self, other: Path) -> None:
        """Measure how far the tensors of `other` are from those of this file."""
        assert self.file is not None
        self.other, self.measured, self.is_map = other, {}, True
        self._measure("comparing", op="compare", path=str(self.file.path), other=str(other))

    def _forget_measured(self) -> None:
        """Drop measurements and the comparison; what is still being measured belongs to them."""
        self.workers.cancel_group(self, "measure")
        self.other, self.measured, self.is_map, self._busy = None, {}, False, ""

    def action_survey(self) -> None:
        """Measure all tensors."""
        if self.file is not None:
            self.other, self.measured = None, {}
            self._measure("measuring", op="survey", path=str(self.file.path))

    @work(exclusive=True, group="measure")
    async def _measure(self, what: str, **request: str) -> None:
        assert self.file is not None
        total = len(self.file.tensors)
        async for reply in self._client.ask(**request):
            if "name" not in reply:
                self.notify(visible(str(reply["error"])), severity="warning", markup=False)
                break
            self.measured[reply["name"]] = reply
            self._busy = f"{what} {len(self.measured)}/{total}"
            self._later()
        self._busy = ""
        self._fill()

    def _later(self) -> None:
        """Draw soon, but not for each of many replies."""
        if not self._is_due:
            self._is_due = True
            self.set_timer(0.1, self._fill)

    def action_stats(self) -> None:
        """Measure the tensor under the cursor, whatever its size."""
        if isinstance(self.focused, Input):
            self.query_one(DataTable).focus()
        elif (tensor := self.tensor) is not None:
            self.is_map = False
            self._measure_one(tensor.name)

    @work(exclusive=True, group="stats")
    async def _measure_one(self, name: str) -> None:
        assert self.file is not None
        path = self.file.path
        if "error" in self.stats.get(name, {"error": "not measured"}):
            async for reply in self._quick.ask(op="stats", path=str(path), name=name):
                self.stats[name] = reply
        if self.file is not None and self.file.path == path and self.query(StillTable):
            self._show_detail()

    @property
    def tensor(self) -> TensorFacts | None:
        """The tensor that the cursor is at."""
        key = self.query_one(StillTable).key
        return self.file.find(key) if self.file is not None else None

    def on_data_table_row_highlighted(self) -> None:
        self._show_detail()
        self._rest_soon()

    def _rest_soon(self) -> None:
        """Measure the tensor under the cursor when nothing has moved for a moment."""
        if self._resting is not None:
            self._resting.stop()
        self._resting = self.set_timer(REST_SECONDS, self._rest)

    def _rest(self) -> None:
        tensor = self.tensor
        if tensor is not None and tensor.num_values <= QUICK:
            self._measure_one(tensor.name)

    # What is shown

    def _fill(self) -> None:
        self._is_due = False
        if not self.display or not self.query(StillTable):
            return  # The app is ending, or has not begun.
        self._show_file()
        self.query_one(ModeStrip).note(self._busy)
        wide = self.has_class("-wide")
        if self.other is not None:
            columns = ("tensor", "shape", "change", "cosine", "largest")
        elif self.measured:
            columns = ("tensor", "shape", "rms", "std", "largest")
        else:
            columns = ("tensor", "format", "shape", "values", "bytes")
        if not wide and self.other is None and not self.measured:
            columns = ("tensor", "format", "shape", "values")
        rows = [(tensor.name, self._cells(tensor, columns)) for tensor in self._tensors()]
        self.query_one(StillTable).show(columns, rows)
        self._show_detail()

    def _tensors(self) -> list[TensorFacts]:
        if self.file is None:
            return []
        words = self.words.lower().split()
        kept = [t for t in self.file.tensors if all(w in f"{t.name} {t.dtype}".lower() for w in words)]
        if self.order == "size":
            kept.sort(key=lambda tensor: -tensor.num_bytes)
        elif self.order == "value":
            name = "relative" if self.other is not None else "rms"
            kept.sort(key=lambda tensor: -(self.measured.get(tensor.name, {}).get(name) or 0.0))
        return kept

    def _cells(self, tensor: TensorFacts, columns: tuple[str, ...]) -> list[Text]:
        found = self.measured.get(tensor.name, {})
        problem = tensor.problem or str(found.get("error", ""))
        largest = found.get("largest")
        if largest is None and found.get("max") is not None:
            largest = max(abs(found["min"]), abs(found["max"]))
        values: dict[str, Text] = {
            "tensor": Text(visible(tensor.name), "red" if problem else "bold"),
            "format": Text(tensor.dtype, "cyan"),
            "shape": Text("×".join(map(str, tensor.shape)) or "scalar"),
            "values": Text(short_count(tensor.num_values)),
            "bytes": Text(short_bytes(tensor.num_bytes)),
            "change": _percent(found.get("relative"), problem),
            "cosine": _plain(found.get("cosine")),
            "largest": _plain(largest),
            "rms": Text(problem, "red") if problem else _plain(found.get("rms")),
            "std": _plain(found.get("std")),
        }
        for name in ("values", "bytes", "change", "cosine", "largest", "rms", "std"):
            values[name].justify = "left" if problem and name in ("change", "rms") else "right"
        return [values[name] for name in columns]

    def _show_file(self) -> None:
        if self.file is None:
            self.query_one("#file", Static).update(Text(visible(self._problem), "red"))
            return
        file = self.file
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(visible(_short_path(file.path)), "bold")
        if self.other is not None:
            text.append("  →  ", "dim")
            text.append(visible(_short_path(self.other)), "bold")
        formats = ", ".join(dict.fromkeys(tensor.dtype for tensor in file.tensors))
        text.append(
            f"   {len(file.tensors)} tensors · {file.num_values:,} values · {short_bytes(file.num_bytes)}"
            f" · {formats}",
            "dim",
        )
        for name, value in file.metadata.items():
            text.append(f"  {visible(name)} {visible(value)}", "dim")
        self.query_one("#file", Static).update(text)

    def _show_detail(self) -> None:
        box = self.query_one("#tensor-detail")
        width = max(box.size.width - 3, 20)
        text = Text()
        if self.file is None:
            text = Text(visible(self._problem))
        elif self.is_map:
            name = "relative" if self.other is not None else "rms"
            text = heat_map(self.measured, name, width=width)
        elif (tensor := self.tensor) is not None:
            height = max(box.size.height - 12, 4)
            text = stats_text(
                tensor, self.stats.get(tensor.name), width=width, height=min(height, 14), is_log=self.is_log
            )
        self.query_one("#tensor-text", Static).update(text)

    def action_heat(self) -> None:
        """Switch between one tensor and a map of all layers."""
        self.is_map = not self.is_map
        if self.is_map and not self.measured:
            self.action_survey()
        self._show_detail()

    def action_log(self) -> None:
        """Draw the histogram's counts on a logarithmic or a linear axis."""
        self.is_log = not self.is_log
        self._show_detail()

    def action_sort(self) -> None:
        """Order the tensors by name, by size, by what was measured."""
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]
        self._fill()

    def action_filter(self) -> None:
        """Ask for words that tensors have to hold."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.words = event.value
        self._fill()

    def action_back(self) -> None:
        """Drop the filter, then the comparison, then go back to the checkpoints."""
        field = self.query_one("#filter", Input)
        if field.display:
            field.value, field.display = "", False
            self.query_one(DataTable).focus()
        elif self.other is not None:
            self._forget_measured()
            self._fill()
        else:
            self.app.switch_mode("checkpoints")


def _short_path(path: Path) -> str:
    """Return the last parts of a path, the run's name among them."""
    parts = path.parts
    return "/".join(parts[-4:]) if "checkpoints" in parts[-4:] else "/".join(parts[-2:])


def _percent(value: Any, problem: str) -> Text:
    if problem:
        return Text(problem, "red")
    return Text("" if value is None else f"{value:.2%}" if value < 10 else short(value), "bold")


def _plain(value: Any) -> Text:
    return Text("" if value is None else short(value))
