"""The sampling options as rows that are changed in place."""

from dataclasses import dataclass

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from picochat.engine.options import SamplingOptions
from picochat.errors import UserError
from workbench.looks import look
from workbench.visible import number_text
from workbench.widgets.inspector import Inspector
from workbench.widgets.next_token import NextTokenPicture

LABEL, VALUE, BAR = 15, 7, 10
HINT = "1-5 or a click forces it"
BAR_ENDS = LABEL + VALUE + 1 + BAR


@dataclass(frozen=True)
class Option:
    """How one option is stepped."""

    name: str
    label: str
    step: float
    full: float
    """Value at which the bar is full."""
    is_whole: bool = False
    may_be_none: bool = False


OPTIONS = (
    Option("temperature", "temperature", 0.05, 2),
    Option("top_k", "top-k", 1, 100, True),
    Option("top_p", "top-p", 0.01, 1),
    Option("min_p", "min-p", 0.01, 1),
    Option("repetition_penalty", "repeat penalty", 0.05, 2),
    Option("max_tokens", "max tokens", 16, 1024, True),
    Option("thinking_budget", "think budget", 8, 512, True, True),
    Option("seed", "seed", 1, 100, True, True),
)


class OptionRow(Widget, can_focus=True):
    """One option: left and right step it, digits type a value, backspace restores the default."""

    DEFAULT_CSS = """
    OptionRow { height: 1; &:focus { background: $primary 35%; } }
    """

    class Changed(Message):
        """The user asks for another value."""

        def __init__(self, name: str, value: float | None) -> None:
            super().__init__()
            self.name = name
            self.value = value

    def __init__(self, option: Option) -> None:
        super().__init__(id=f"option-{option.name}")
        self.option = option
        self.value: float | None = getattr(SamplingOptions(), option.name)
        self._typed = ""

    @property
    def _shown(self) -> str:
        value = "none" if self.value is None else number_text(self.value)
        return f"{self._typed}▏" if self._typed else value

    @property
    def _bar_width(self) -> int:
        """What the longest seeds leave of the bar; of others the label's end gives way."""
        return max(0, min(BAR, BAR_ENDS - len(f"{self.option.label} {self._shown} ")))

    def render(self) -> Text:
        shown, width = self._shown, self._bar_width
        filled = 0 if self.value is None else round(width * min(self.value / self.option.full, 1))
        room = BAR_ENDS - width - len(f"{self.option.label}  ")
        is_usual = self.value == getattr(SamplingOptions(), self.option.name)
        number = look(self.app, "text" if is_usual else "changed")
        bar = look(self.app, "primary")
        return Text.assemble(
            f"{self.option.label} ",
            (f"{shown:>{room}}", number),
            " ",
            ("━" * filled, bar),
            ("─" * (width - filled), "dim"),
            no_wrap=True,
        )

    def on_key(self, event: events.Key) -> None:
        if event.key in ("left", "right", "shift+left", "shift+right"):
            size = self.option.step * (10 if event.key.startswith("shift") else 1)
            self._step(size if event.key.endswith("right") else -size)
        elif event.character is not None and event.character in "0123456789.":
            self._typed += event.character
            self.refresh()
        elif event.key == "enter" and self._typed:
            self._finish()
        elif event.key == "backspace":
            self._ask_default()
        elif event.key in ("up", "down"):
            self.screen.focus_previous() if event.key == "up" else self.screen.focus_next()
        else:
            return
        event.stop()

    def on_blur(self) -> None:
        self._finish()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._step(self.option.step)
        event.stop()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._step(-self.option.step)
        event.stop()

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        width = self._bar_width
        place = -1 if offset is None else offset.x - (BAR_ENDS - width)
        if 0 <= place < width:
            value = round((place + 1) / width * self.option.full / self.option.step) * self.option.step
            self.post_message(self.Changed(self.option.name, round(value, 4)))

    def _ask_default(self) -> None:
        if self._typed:
            self._typed = self._typed[:-1]
            self.refresh()
        else:
            self.post_message(self.Changed(self.option.name, getattr(SamplingOptions(), self.option.name)))

    def _step(self, size: float) -> None:
        value = round((self.value or 0) + size, 4)
        if value < 0:
            self.post_message(self.Changed(self.option.name, None if self.option.may_be_none else 0))
        else:
            self.post_message(self.Changed(self.option.name, value))

    def _finish(self) -> None:
        typed, self._typed = self._typed, ""
        self.refresh()
        if typed.count(".") <= 1 and typed.strip("."):
            value = float(typed) if "." in typed else int(typed)
            self.post_message(self.Changed(self.option.name, value))


class SamplingPanel(VerticalScroll, can_focus=False):
    """All sampling options; what is changed holds for the next answer."""

    DEFAULT_CSS = """
    SamplingPanel { width: 38; padding: 0 1; border-left: solid $primary 60%; scrollbar-size-vertical: 1; }
    SamplingPanel .heading { text-style: bold; color: $accent; }
    SamplingPanel .hint { color: $text-muted; }
    SamplingPanel Inspector { padding: 0; margin: 1 0 0 0; }
    """

    class Changed(Message):
        """The options are others now."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.options = SamplingOptions()

    def compose(self) -> ComposeResult:
        yield Static("sampling", classes="heading")
        for option in OPTIONS:
            yield OptionRow(option)
        yield Static("←→ step · 0-9 type · ⌫ usual", classes="hint", markup=False)
        yield Inspector(HINT, id="side-inspector")
        yield NextTokenPicture(id="next-token")

    @property
    def picture(self) -> NextTokenPicture:
        """What the options make of the next token."""
        return self.query_one(NextTokenPicture)

    def on_option_row_changed(self, event: OptionRow.Changed) -> None:
        event.stop()
        option = next(option for option in OPTIONS if option.name == event.name)
        value = int(event.value) if option.is_whole and event.value is not None else event.value
        try:
            self.set_options(SamplingOptions(**{**self.values(), event.name: value}))
        except UserError as error:
            self.notify(str(error), severity="warning", markup=False)

    def set_options(self, options: SamplingOptions) -> None:
        """Take other options."""
        self.options = options
        for row in self.query(OptionRow):
            row.value = getattr(options, row.option.name)
            row.refresh()
        self.post_message(self.Changed())

    def values(self) -> dict[str, float | None]:
        """Return the options as JSON."""
        return {option.name: getattr(self.options, option.name) for option in OPTIONS}
