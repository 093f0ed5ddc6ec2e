"""The token under the cursor or the mouse, and what else could have stood there."""

import math

from rich.text import Text
from textual import events
from textual.message import Message
from textual.widget import Widget

from picochat.engine.protocol import TokenInfo
from workbench.looks import look
from workbench.visible import visible

WIDE = 60
"""Cells from which on everything about a token stands in one line."""
BLOCKS = " ▏▎▍▌▋▊▉█"


class Inspector(Widget):
    """A line or two for the token, one for each alternative."""

    DEFAULT_CSS = """
    Inspector { height: auto; padding: 0 1; }
    """

    class Chosen(Message):
        """The user clicked on an alternative, counted from 1."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

    def __init__(self, hint: str = "", *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.hint = hint
        self.token: TokenInfo | None = None
        self._index = 0
        self._first = 1  # the line of the first alternative

    def show(self, token: TokenInfo, index: int) -> None:
        """Show a token of an answer."""
        if (token, index) != (self.token, self._index):
            self.token, self._index = token, index
            self.refresh(layout=True)

    def clear(self) -> None:
        """Show no token."""
        self.token = None
        self.refresh(layout=True)

    def render(self) -> Text:
        token = self.token
        if token is None:
            return Text()
        width = self.content_size.width
        is_wide = width >= WIDE
        what = f"token {self._index} · id {token.id}"
        told = "put there by the engine" if token.forced else facts(token)
        lines = [Text.assemble((quote(token.label), "bold"), f"  {what}" + (f" · {told}" if is_wide else ""))]
        if not is_wide:
            lines.append(Text(told))
        self._first = len(lines)
        lines += [self._line(number, width) for number in range(1, len(token.alternatives) + 1)]
        if self.hint and token.alternatives:
            lines.append(Text(self.hint, look(self.app, "note")))
        for line in lines:
            line.no_wrap = True
            line.truncate(width, overflow="ellipsis")
        return Text("\n").join(lines)

    def _line(self, number: int, width: int) -> Text:
        assert self.token is not None
        other = self.token.alternatives[number - 1]
        probability = math.exp(other.logprob)
        is_it = other.id == self.token.id
        label = max(width // 3, 8)
        text = Text(f"{'●' if is_it else ' '}{number} ", "bold" if is_it else "")
        text.append(f"{quote(other.label):<{label}.{label}} {probability:6.1%} ")
        text.append(bar(probability, width - label - 11), "bold" if is_it else "dim")
        return text

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None or self.token is None:
            return
        number = offset.y - self._first + 1
        if 1 <= number <= len(self.token.alternatives):
            self.post_message(self.Chosen(number))


def facts(token: TokenInfo) -> str:
    """Return how likely a token was, its surprise, its place among the likeliest, and the entropy there."""
    told = f"p {math.exp(token.logprob):.3f} · {-token.logprob / math.log(2):.1f} bits"
    place = next((i for i, other in enumerate(token.alternatives, 1) if other.id == token.id), 0)
    told += f" · no. {place}" if place else ""
    if token.entropy is not None:
        told += f" · H {token.entropy / math.log(2):.1f}"
    return told


def bar(share: float, width: int) -> str:
    """Return a bar of at most `width` cells, an eighth of a cell fine."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (BLOCKS[rest] if rest else "")


def quote(label: str) -> str:
    """Return a token's own text with its spaces and line breaks in sight."""
    return visible(label.replace("\n", "⏎").replace(" ", "␣")) or "(nothing)"
