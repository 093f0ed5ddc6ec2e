"""Where questions are typed: several lines, with a history."""

from textual import events
from textual.message import Message
from textual.widgets import TextArea

NEW_LINE = ("ctrl+j", "shift+enter", "alt+enter", "shift+\r")
"""Terminals differ in which of these they can tell from enter; all can tell the first."""


class Prompt(TextArea):
    """Enter sends, Ctrl-J begins a new line; up and down at the ends go through what was sent before."""

    class Sent(Message):
        """The user wants this answered."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, placeholder="Ask something.  Enter sends, ^J begins a new line, F1 helps")
        self.sent: list[str] = []
        self._place = 0
        self._draft = ""

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.prevent_default().stop()
            self._submit()
        elif event.key in NEW_LINE:
            event.prevent_default().stop()
            self.insert("\n")
        elif event.key == "up" and self.cursor_at_first_line and self._place > 0:
            event.prevent_default().stop()
            self._recall(self._place - 1)
        elif event.key == "down" and self.cursor_at_last_line and self._place < len(self.sent):
            event.prevent_default().stop()
            self._recall(self._place + 1)
        elif event.key == "space" and event.character is None:
            # Some terminals report the key without its character.
            event.prevent_default().stop()
            self.insert(" ")
        else:
            await super()._on_key(event)

    def _submit(self) -> None:
        if self.text.strip():
            self.post_message(self.Sent(self.text))

    def remember(self, text: str) -> None:
        """Add what was sent to the history, and be empty."""
        self.sent.append(text)
        self._place = len(self.sent)
        self.text = ""

    def _recall(self, place: int) -> None:
        if self._place == len(self.sent):
            self._draft = self.text
        self._place = place
        self.text = self.sent[place] if place < len(self.sent) else self._draft
        self.move_cursor(self.document.end)
