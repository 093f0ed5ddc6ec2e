"""Where questions are typed: several lines, with a history."""

from textual import events
from textual.message import Message

from workbench.splash import PLACEHOLDER
from workbench.store import History
from workbench.widgets.inputs import PageInput

NEW_LINE = ("ctrl+j", "shift+enter", "alt+enter", "ctrl+enter", "shift+\r")
"""Terminals differ in which of these they can tell from enter; all can tell the first."""


class Prompt(PageInput):
    """Enter sends, Ctrl-J begins a new line; up and down at the ends go through what was sent before."""

    DEFAULT_CSS = """
    Prompt {
        height: auto; min-height: 3; max-height: 8; padding: 0 1; border: round $primary 60%;
        background: $surface;
        &:focus { border: round $accent; }
    }
    """

    class Sent(Message):
        """The user wants this answered."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, history: History, *, id: str | None = None) -> None:
        super().__init__(id=id, highlight_cursor_line=False, placeholder=PLACEHOLDER)
        self.sent = history
        self._place = 0
        self._draft = ""

    def on_mount(self) -> None:
        self.sent.read()
        self._place = len(self.sent.lines)

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.prevent_default().stop()
            if self.text.strip():
                self.post_message(self.Sent(self.text))
        elif event.key in NEW_LINE:
            event.prevent_default().stop()
            self.insert("\n")
        elif event.key == "up" and self.cursor_at_first_line and self._place > 0:
            event.prevent_default().stop()
            self._recall(self._place - 1)
        elif event.key == "down" and self.cursor_at_last_line and self._place < len(self.sent.lines):
            event.prevent_default().stop()
            self._recall(self._place + 1)
        else:
            await super()._on_key(event)

    def remember(self, text: str) -> None:
        """Add what was sent to the history, and be empty. Raises OSError."""
        self.text = ""
        # Other workbenches may have added to it.
        self.sent.read()
        try:
            self.sent.add(text)
        finally:
            self._place = len(self.sent.lines)

    def fill(self, text: str) -> None:
        """Put a text in, with the cursor behind it."""
        self.text = text
        self.move_cursor(self.document.end)

    def _recall(self, place: int) -> None:
        lines = self.sent.lines
        if self._place == len(lines):
            self._draft = self.text
        self._place = place
        self.fill(lines[place] if place < len(lines) else self._draft)
