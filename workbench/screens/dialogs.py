"""Small questions to the user: a line of text, yes or no, one of a list; and the help."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from workbench.visible import visible


class Ask(ModalScreen[str | None]):
    """Asks for a line of text; escape gives none."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss(None)", "Cancel")]

    def __init__(self, question: str, value: str = "") -> None:
        super().__init__()
        self._question = question
        self._value = value

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self._question, markup=False)
            yield Input(self._value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)


class Confirm(ModalScreen[bool]):
    """Asks before something that can not be undone."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("y", "dismiss(True)", "Yes"),
        ("n,escape", "dismiss(False)", "No"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self._question, markup=False)
            yield Static("y: yes    n: no", classes="hint")


class Choose(ModalScreen[str | None]):
    """Asks for one of a list, which shrinks to what holds the words typed."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss(None)", "Cancel"), ("down", "down", "List")]

    def __init__(self, question: str, find: Callable[[str], Sequence[tuple[str, str]]]) -> None:
        """`find` returns (id, name) of what holds given words."""
        super().__init__()
        self._question = question
        self._find = find

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self._question, markup=False)
            yield Input(placeholder="search")
            yield OptionList()

    def on_mount(self) -> None:
        self._fill("")

    def on_input_changed(self, event: Input.Changed) -> None:
        self._fill(event.value)

    def _fill(self, words: str) -> None:
        options = [Option(Text(visible(name)), id=id) for id, name in self._find(words)]
        found = self.query_one(OptionList)
        found.clear_options()
        found.add_options(options)

    def action_down(self) -> None:
        """Go from the search to the list."""
        self.query_one(OptionList).focus()

    def on_input_submitted(self) -> None:
        found = self.query_one(OptionList)
        if found.option_count:
            self.dismiss(found.get_option_at_index(found.highlighted or 0).id)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)


class Help(ModalScreen[None]):
    """The keys that work where the help was asked for."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,f1,question_mark,q", "dismiss(None)", "Close")]

    def __init__(self, keys: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._keys = keys

    def compose(self) -> ComposeResult:
        text = Text("keys\n", style="bold")
        for key, what in self._keys:
            text.append(f"\n{key:>12}", "bold cyan")
            text.append(f"  {what}", "not bold")
        with VerticalScroll(classes="dialog"):
            yield Static(text)
