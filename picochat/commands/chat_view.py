"""How an answer looks in a terminal, or in a pipe."""

import sys
from typing import Protocol

from rich.console import Console
from rich.text import Text

from picochat.engine.events import Done, Event, TextDelta, ThinkingDelta, ToolCall, ToolResult

REASONS = {
    "length": "stopped after {} tokens (/max_tokens N allows more)",
    "context": "the context is full (/clear begins anew)",
    "cancelled": "stopped",
}
# Control characters become their pictures; those that turn the direction of writing, and the second set of
# control characters, their code.
_SHOWN = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
_CODES = (*range(0x80, 0xA0), 0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_VISIBLE = _SHOWN | {code: f"<U+{code:04X}>" for code in _CODES}


def visible(text: str) -> str:
    """Return model text in which no character steers the terminal: escape codes are shown, not obeyed."""
    return text.translate(_VISIBLE)


class View(Protocol):
    """Where a conversation is shown."""

    def show(self, event: Event) -> None:
        """Show an event of an answer."""
        ...

    def say(self, text: str) -> None:
        """Say something of our own."""
        ...


class PlainView:
    """For pipes and files: the visible text as it is, the rest in brackets; notes go to stderr."""

    def __init__(self) -> None:
        self._is_thinking = False

    def show(self, event: Event) -> None:
        """Write an event at once."""
        text = ""
        if self._is_thinking and not (isinstance(event, ThinkingDelta) and event.text):
            self._is_thinking = False
            text += "]\n"
        match event:
            case TextDelta():
                text += visible(event.text)
            case ThinkingDelta() if event.text:
                text += ("" if self._is_thinking else "[thinking: ") + visible(event.text)
                self._is_thinking = True
            case ToolCall():
                text += f"[{visible(event.expression)}"
            case ToolResult():
                text += f" = {visible(event.text)}]"
            case Done():
                text += "\n"
        sys.stdout.write(text)
        sys.stdout.flush()
        if isinstance(event, Done) and event.reason in REASONS:
            self.say(f"({REASONS[event.reason].format(event.num_tokens)})")

    def say(self, text: str) -> None:
        """Write a note."""
        sys.stderr.write(text + "\n")


class TerminalView:
    """Thinking dimmed, calls of the calculator in colour."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)

    def show(self, event: Event) -> None:
        """Print an event at once."""
        match event:
            case TextDelta():
                self._put(event.text)
            case ThinkingDelta():
                self._put(event.text or "\n", "dim italic")
            case ToolCall():
                self._put(f" {event.expression}", "cyan")
            case ToolResult():
                self._put(f" = {event.text} ", "red" if event.text.startswith("error:") else "bold cyan")
            case Done():
                self._put("\n")
                if event.reason in REASONS:
                    self.say(f"({REASONS[event.reason].format(event.num_tokens)})")

    def say(self, text: str) -> None:
        """Print a note, dimmed."""
        self._put(text + "\n", "dim")

    def _put(self, text: str, style: str = "") -> None:
        # Text, not markup: brackets in an answer are brackets.
        self._console.print(Text(visible(text), style=style), end="")
