"""The token under the cursor or the mouse, and what else could have stood there."""

import math

from rich.text import Text
from textual import events
from textual.message import Message
from textual.widgets import Static

from picochat.engine.protocol import TokenInfo
from workbench.visible import visible

BAR = 24
LABEL = 18
BLOCKS = " ▏▎▍▌▋▊▉█"


class Inspector(Static):
    """One line for the token, one for each alternative."""

    DEFAULT_CSS = """
    Inspector {
        height: 7; padding: 0 1; border-top: solid $primary 60%; background: $surface;
        text-wrap: nowrap; text-overflow: ellipsis;
    }
    """

    class Chosen(Message):
        """The user clicked on an alternative, counted from 1."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

    def __init__(self, hint: str = "", *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._hint = hint
        self._count = 0

    def show(self, token: TokenInfo, index: int) -> None:
        """Show a token of an answer."""
        self._count = len(token.alternatives)
        text = Text()
        text.append(f"{quote(token.label)} ", "bold")
        text.append(f" token {index} · id {token.id} · ")
        text.append("put there by the engine" if token.forced else facts(token))
        for number, other in enumerate(token.alternatives, 1):
            probability = math.exp(other.logprob)
            is_it = other.id == token.id
            text.append(f"\n{'●' if is_it else ' '}{number} ", "bold" if is_it else "")
            text.append(f"{quote(other.label):<{LABEL}.{LABEL}} {probability:7.2%} ")
            text.append(bar(probability, BAR), "bold" if is_it else "dim")
        if token.alternatives:
            text.append(f"   {self._hint}", "dim italic")
        self.update(text)

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is not None and 1 <= offset.y <= self._count:
            self.post_message(self.Chosen(offset.y))


def facts(token: TokenInfo) -> str:
    """Return how likely a token was, its place among the likeliest, and how sure the model was."""
    told = f"p {math.exp(token.logprob):.3f} · {-token.logprob / math.log(2):.1f} bits"
    place = next((i for i, other in enumerate(token.alternatives, 1) if other.id == token.id), 0)
    told += f" · no. {place}" if place else ""
    if token.entropy is not None:
        told += f" · entropy {token.entropy / math.log(2):.1f} bits"
    return told


def bar(share: float, width: int) -> str:
    """Return a bar of at most `width` cells, an eighth of a cell fine."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (BLOCKS[rest] if rest else "")


def quote(label: str) -> str:
    """Return a token's own text with its spaces and line breaks in sight."""
    return visible(label.replace("\n", "⏎").replace(" ", "␣")) or "(nothing)"
