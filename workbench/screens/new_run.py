"""The form from which a run is begun."""

import contextlib
import io
import shlex
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Select, Static

from picochat.arguments import parse_options
from picochat.commands.runs_view import OPTIONS
from picochat.errors import UserError
from workbench.run_actions import free_name
from workbench.widgets.inputs import LineInput

FORM = {
    "pretrain": ("steps", "depth", "batch_size", "seq_len", "data", "eval_every", "save_every"),
    "sft": ("steps", "lr", "batch_size", "data", "eval_every", "save_every"),
    "grpo": ("steps", "lr", "prompts", "group_size", "max_tokens", "eval_every", "save_every"),
}
"""The options with a field of their own; all others go into the last line."""
HELP = {
    "steps": "optimizer steps", "depth": "layers", "batch_size": "sequences per step",
    "seq_len": "tokens per sequence", "data": "files; empty: the built-in world",
    "eval_every": "steps between validations", "save_every": "steps between checkpoints",
    "lr": "learning rate", "prompts": "problems per step", "group_size": "answers to each problem",
    "max_tokens": "tokens of an answer at most",
}  # fmt: skip
MOST_FIELDS = max(map(len, FORM.values()))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A run that is to be begun."""

    stage: str
    name: str
    arguments: list[str]
    """Of `picochat STAGE`, without the name."""


class NewRun(ModalScreen[Asked | None]):
    """Asks for stage, name, parent and options; escape begins nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("ctrl+s", "begin", "Begin", priority=True),
    ]

    def __init__(self, runs_dir: Path, parents: Sequence[str], parent: str = "") -> None:
        super().__init__()
        self._runs_dir = runs_dir
        self._load = parent if parent in parents else parents[-1] if parents else ""
        self._suggested = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="new-run"):
            yield Static("a new run", classes="heading")
            with VerticalScroll(id="fields"):
                yield from self._field("stage", Select([(s, s) for s in FORM], value="pretrain", id="stage",
                                                       allow_blank=False, compact=True))  # fmt: skip
                yield from self._field("name", LineInput(id="name", compact=True))
                yield from self._field(
                    "begin from", LineInput(self._load, id="load", compact=True), "load-row"
                )
                for number in range(MOST_FIELDS):
                    yield from self._field("", LineInput(id=f"field{number}", compact=True), f"row{number}")
                others = LineInput(id="others", compact=True, placeholder="--seed 1 --dtype float32")
                yield from self._field("others", others)
            yield Static(id="complaint", markup=False)
            with Horizontal(id="buttons"):
                yield Button("Begin  ^s", variant="primary", id="begin", compact=True)
                yield Button("Cancel  esc", id="cancel", compact=True)

    def _field(self, label: str, widget: Input | Select[str], id: str | None = None) -> ComposeResult:
        with Horizontal(classes="form-row", id=id):
            yield Label(label, classes="form-label")
            yield widget

    def on_mount(self) -> None:
        self._fill("pretrain")
        self.query_one("#name", Input).focus()

    def on_select_changed(self, event: Select.Changed) -> None:
        self._fill(str(event.value))

    def _fill(self, stage: str) -> None:
        """Show the fields of a stage with their defaults."""
        name = self.query_one("#name", Input)
        if name.value == self._suggested:
            self._suggested = name.value = free_name(stage, self._runs_dir)
        self.query_one("#load-row").display = stage != "pretrain"
        defaults = {field.name: field.default for field in fields(OPTIONS[stage])}
        for number in range(MOST_FIELDS):
            row = self.query_one(f"#row{number}")
            row.display = number < len(FORM[stage])
            if row.display:
                option = FORM[stage][number]
                row.query_one(Label).update(option.replace("_", " "))
                field = row.query_one(Input)
                default = defaults[option]
                assert default is not MISSING
                field.value = ""
                told = "" if default in ((), None) else f"{default}"
                field.placeholder = f"{told}  {HELP[option]}".strip()

    @property
    def _stage(self) -> str:
        return str(self.query_one("#stage", Select).value)

    def _asked(self) -> Asked:
        """Return what the form says. Raises UserError if it can not be so."""
        stage = self._stage
        name = self.query_one("#name", Input).value.strip()
        if not name or Path(name).name != name or name.startswith(".") or "@" in name:
            raise UserError("the name has to be one plain folder name without @")
        if (self._runs_dir / name).exists():
            raise UserError(f"{name} is taken; give the run another name")
        arguments: list[str] = []
        if stage != "pretrain":
            parent = self.query_one("#load", Input).value.strip()
            if not parent:
                raise UserError("begin from: name the run or checkpoint to begin with")
            arguments += ["--load", parent]
        for number, option in enumerate(FORM[stage]):
            value = self.query_one(f"#field{number}", Input).value.strip()
            if value:
                arguments.append(f"--{option.replace('_', '-')}")
                arguments += _split(option.replace("_", " "), value)
        arguments += _split("others", self.query_one("#others", Input).value)
        if {"-h", "--help"} & set(arguments):
            raise UserError("others: options only; `picochat STAGE --help` tells of them")
        # The parser asks the terminal's encoding of the standard output, which is the app's while it runs.
        with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding="utf-8")):
            given = ["--run", name, *arguments]
            parse_options(OPTIONS[stage], prog=f"picochat {stage}", args=given, summary=stage)
        return Asked(stage=stage, name=name, arguments=arguments)

    def action_begin(self) -> None:
        """Close the form with what it says, or complain."""
        try:
            self.dismiss(self._asked())
        except UserError as error:
            self.query_one("#complaint", Static).update(str(error))

    def on_input_submitted(self) -> None:
        self.action_begin()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "begin":
            self.action_begin()
        else:
            self.dismiss(None)


def _split(label: str, text: str) -> list[str]:
    """Return the arguments in a field. Raises UserError for a quotation that does not end."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UserError(f"{label}: {error}") from error
