"""Fields to type into: they take the spaces of every terminal, and show control characters as pictures."""

from rich.text import Text
from textual import events
from textual.widgets import Input, TextArea

from workbench.visible import pictures

SPACES = ("space", "shift+space")


def mend_space(event: events.Key) -> None:
    """Give a space its character: some terminals report the key alone, and it would be lost."""
    if event.key in SPACES and event.character is None:
        event.character = " "


class LineInput(Input):
    """A line of text."""

    @property
    def _value(self) -> Text:
        return Text(pictures(self.value), no_wrap=True, overflow="ignore", end="")

    async def _on_key(self, event: events.Key) -> None:
        mend_space(event)
        await super()._on_key(event)


class PageInput(TextArea):
    """A text of several lines."""

    def get_line(self, line_index: int) -> Text:
        """Return a line as it is shown."""
        return Text(pictures(self.document.get_line(line_index)), end="", no_wrap=True)

    async def _on_key(self, event: events.Key) -> None:
        mend_space(event)
        await super()._on_key(event)
