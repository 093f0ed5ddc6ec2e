"""A row of names of which one is chosen: screens, or parts of one."""

from collections.abc import Sequence

from rich.style import Style
from rich.text import Text
from textual import events
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from workbench.modes import SCREENS

GAP = 2


class NameStrip(Widget):
    """Names in one line, each with its key; a click chooses one."""

    chosen: reactive[str] = reactive("")

    class Chosen(Message):
        """A name was clicked."""

        def __init__(self, strip: "NameStrip", name: str) -> None:
            super().__init__()
            self.strip, self.choice = strip, name

        @property
        def control(self) -> "NameStrip":
            return self.strip

    def __init__(self, names: Sequence[tuple[str, str]], chosen: str, *, id: str | None = None) -> None:
        """`names` holds pairs of key and name."""
        super().__init__(id=id)
        self._names = list(names)
        self._note = ""
        self.set_reactive(NameStrip.chosen, chosen)

    def note(self, text: str) -> None:
        """Show a remark at the right end."""
        if text != self._note:
            self._note = text
            self.refresh()

    def render(self) -> Text:
        text = Text(no_wrap=True, overflow="crop")
        for key, name in self._names:
            is_chosen = name == self.chosen
            style = Style(bold=True, reverse=True) if is_chosen else Style()
            text.append(f" {key} " if key else " ", style + Style(dim=not is_chosen))
            text.append(f"{name} ", style)
            text.append(" " * GAP)
        room = self.content_size.width - text.cell_len
        if self._note and room > 4:
            note = self._note if len(self._note) <= room else f"{self._note[: room - 1]}…"
            text.append(f"{note:>{room}}", Style(dim=True))
        return text

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None:
            return
        start = 0
        for key, name in self._names:
            width = len(f" {key} " if key else " ") + len(name) + 1
            if start <= offset.x < start + width:
                self.post_message(self.Chosen(self, name))
                return
            start += width + GAP


class ModeStrip(NameStrip):
    """The screens of the app."""

    def __init__(self, chosen: str) -> None:
        super().__init__(SCREENS, chosen)

    def on_name_strip_chosen(self, event: NameStrip.Chosen) -> None:
        event.stop()
        self.app.switch_mode(event.choice)
