"""Small questions to the user: a line or a page of text, yes or no, one of a list; and the help."""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, OptionList, Static, TextArea
from textual.widgets.option_list import Option

from picochat.errors import UserError
from workbench.visible import visible
from workbench.widgets.inputs import LineInput, PageInput


def typed_path(text: str) -> Path:
    """Return the path that a user typed; as in a shell `~NAME` stays as it is where nobody is called so."""
    return Path(os.path.expanduser(text))


class Ask(ModalScreen[str | None]):
    """Asks for a line of text; escape gives none."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss(None)", "Cancel")]

    def __init__(self, question: str, value: str = "") -> None:
        super().__init__()
        self._question = question
        self._value = value

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self._question, markup=False, classes="question")
            yield LineInput(self._value)
            yield Static("enter takes it · esc leaves", classes="hint")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)


class AskPage(ModalScreen[str | None]):
    """Asks for a text of several lines; escape gives none."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel", priority=True),
        Binding("ctrl+s", "take", "Take it", priority=True, id="take_page"),
    ]

    def __init__(self, question: str, value: str = "") -> None:
        super().__init__()
        self._question = question
        self._value = value

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog page"):
            yield Static(self._question, markup=False, classes="question")
            yield PageInput(self._value)
            yield Static("^S takes it · esc leaves", classes="hint")

    def on_mount(self) -> None:
        area = self.query_one(TextArea)
        area.move_cursor(area.document.end)

    def action_take(self) -> None:
        """Take the text."""
        self.dismiss(self.query_one(TextArea).text)


class Confirm(ModalScreen[bool]):
    """Asks before something that can not be undone."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("y", "dismiss(True)", "Yes"),
        ("n,escape", "dismiss(False)", "No"),
        ("left,right", "app.focus_next", "Other"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            with VerticalScroll(can_focus=False):
                yield Static(self._question, markup=False)
            with Horizontal(classes="buttons"):
                yield Button("No  (n)", id="no", compact=True)
                yield Button("Yes  (y)", id="yes", compact=True, variant="warning")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")


class Choose(ModalScreen[str | None]):
    """Asks for one of a list, which shrinks to what holds the words typed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("down", "move(1)", "Next", show=False, priority=True),
        Binding("up", "move(-1)", "Before", show=False, priority=True),
        Binding("ctrl+d", "delete", "Delete", priority=True, id="delete_choice"),
    ]

    def __init__(
        self,
        question: str,
        find: Callable[[str], Sequence[tuple[str, str]]],
        *,
        delete: Callable[[str], object] | None = None,
        empty: str = "nothing found",
    ) -> None:
        """`find` returns (id, name) of what holds given words, in a thread; `delete` removes one of them."""
        super().__init__()
        self._question = question
        self._find = find
        self._delete = delete
        self._empty = empty
        self._listed: str | None = None
        """The words that the list is of; what is typed may be ahead of it."""
        self._taken: str | None = None
        """The words whose first find is to be taken as soon as it is there."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self._question, markup=False, classes="question")
            yield LineInput(placeholder="search")
            yield OptionList()
            keys = "↑↓ choose · enter takes it · esc leaves" + (" · ^D deletes" if self._delete else "")
            yield Static(keys, classes="hint")

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self._fill("")

    def on_input_changed(self, event: Input.Changed) -> None:
        self._fill(event.value)

    @work(exclusive=True, group="fill")
    async def _fill(self, words: str) -> None:
        try:
            rows = await asyncio.to_thread(self._find, words)
        except (UserError, OSError) as error:
            self.notify(visible(str(error)), severity="error", markup=False)
            rows = []
        options = [Option(Text(visible(name), no_wrap=True), id=id) for id, name in rows]
        found = self.query_one(OptionList)
        found.clear_options()
        found.add_options(options or [Option(self._empty, disabled=True)])
        found.highlighted = 0 if options else None
        self._listed = words
        if self._taken == words:
            self._take()

    @property
    def _chosen(self) -> str | None:
        found = self.query_one(OptionList)
        if found.highlighted is None or self._listed != self.query_one(Input).value:
            return None
        return found.get_option_at_index(found.highlighted).id

    def action_move(self, distance: int) -> None:
        """Move through the list; what is typed goes on to the search."""
        found = self.query_one(OptionList)
        found.action_cursor_down() if distance > 0 else found.action_cursor_up()

    @work
    async def action_delete(self) -> None:
        """Delete what the cursor is at, after a question."""
        chosen = self._chosen
        if self._delete is None or chosen is None:
            return
        if await self.app.push_screen_wait(Confirm("delete it?")):
            try:
                self._delete(chosen)
            except (UserError, OSError) as error:
                self.notify(visible(str(error)), severity="error", markup=False)
            self._fill(self.query_one(Input).value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if self._listed == event.value:
            self._take()
        else:
            self._taken = event.value

    def _take(self) -> None:
        self._taken = None
        if (chosen := self._chosen) is not None:
            self.dismiss(chosen)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)


class Help(ModalScreen[None]):
    """The keys that work where the help was asked for."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,f1,question_mark,q,enter", "dismiss(None)", "Close")]

    def __init__(self, groups: Sequence[tuple[str, Sequence[tuple[str, str, str]]]], note: str = "") -> None:
        """`groups` are headings with (key, what it does, name for the settings)."""
        super().__init__()
        self._groups = groups
        self._note = note

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog help"):
            yield Static(id="keys")

    def on_mount(self) -> None:
        text = Text()
        accent = self.app.theme_variables.get("accent", "")
        style = "bold" if accent.startswith("ansi") else f"bold {accent}"
        for heading, rows in self._groups:
            text.append(f"{heading}\n", style)
            for key, what, name in rows:
                text.append(f"{key:>14}", "bold")
                text.append(f"  {what:<31}")
                text.append(f"{name}\n", "dim")
            text.append("\n")
        text.append(self._note, "dim")
        self.query_one("#keys", Static).update(text)
        self.query_one(VerticalScroll).focus()
