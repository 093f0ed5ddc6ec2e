"""One side of a comparison: an answer whose tokens are marked where the other side's differ."""

import math
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Static

from picochat.engine.protocol import TokenInfo
from workbench.visible import visible

KINDS = {
    "thinking": Style(italic=True, dim=True),
    "tool_call": Style(color="#e69f00", bold=True),
    "tool_result": Style(color="#56b4e9", bold=True),
    "control": Style(dim=True),
}
SIGNS = {
    "<|think_start|>": "▾ ",
    "<|think_end|>": "\n",
    "<|tool_call_start|>": " ⚙ ",
    "<|tool_result_start|>": " → ",
    "<|tool_result_end|>": " ",
}
"""What is shown in the place of control tokens; nothing for the others."""
PARTING = Style(reverse=True, bold=True)
DIFFERS = Style(underline=True, color="#e69f00")
LIKELIHOODS = (
    (0.9, Style(color="#56b4e9")),
    (0.5, Style()),
    (0.1, Style(color="#e69f00")),
    (0.0, Style(color="#d55e00", bold=True, underline=True)),
)
"""Lowest probability and style; the unlikely ones are underlined too."""


class SideText(Static, can_focus=True):
    """The tokens of an answer, walked with the arrow keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(-1)", "Token", show=False),
        Binding("right", "move(1)", "Token", show=False),
        Binding("up", "move(-10)", "Ten tokens back", show=False),
        Binding("down", "move(10)", "Ten tokens on", show=False),
        Binding("home", "move(-1000000)", "First token", show=False),
        Binding("end", "move(1000000)", "Last token", show=False),
    ]

    class Moved(Message):
        """The cursor went to a token."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.tokens: list[TokenInfo] = []
        self.marks: list[bool] = []
        """For each token whether the other side has it not."""
        self.parting: int | None = None
        """The first token that differs."""
        self.is_coloured = False
        self.cursor: int | None = None

    def draw(self) -> None:
        """Show the tokens as they are marked now."""
        text = Text()
        for index, token in enumerate(self.tokens):
            shown = _shown(token)
            style = KINDS.get(token.kind, Style()) + Style(meta={"token": index})
            if self.is_coloured and not token.forced:
                probability = math.exp(min(token.logprob, 0.0))
                style += next(look for least, look in LIKELIHOODS if probability >= least)
            elif index == self.parting:
                style += PARTING
            elif index < len(self.marks) and self.marks[index]:
                style += DIFFERS
            if index == self.cursor:
                style += Style(reverse=not (index == self.parting and not self.is_coloured), underline2=True)
            text.append(shown, style)
        self.update(text)

    def action_move(self, distance: int) -> None:
        """Move the cursor."""
        if self.tokens:
            here = -1 if self.cursor is None else self.cursor
            self.post_message(self.Moved(min(max(here + distance, 0), len(self.tokens) - 1)))

    def on_click(self, event: events.Click) -> None:
        index = event.style.meta.get("token")
        if isinstance(index, int):
            self.post_message(self.Moved(index))


def _shown(token: TokenInfo) -> str:
    """Return what stands for a token: its text; the ends of thinking and calls as signs."""
    if token.kind == "control":
        return SIGNS.get(token.label, "")
    return visible(token.text)


def find_parting(first: Sequence[TokenInfo], second: Sequence[TokenInfo], *, is_over: bool) -> int | None:
    """Return the index of the first token that differs; the end of one answer counts once both are over."""
    for index, (a, b) in enumerate(zip(first, second, strict=False)):
        if a.id != b.id:
            return index
    shorter = min(len(first), len(second))
    return shorter if is_over and len(first) != len(second) else None


def mark(
    first: Sequence[TokenInfo], second: Sequence[TokenInfo], *, is_over: bool
) -> tuple[list[bool], list[bool]]:
    """Return for both answers which tokens the other has not.

    While they are being written, that is all from the parting on; then what a sequence alignment leaves over.
    """
    parting = find_parting(first, second, is_over=is_over)
    if parting is None:
        return [False] * len(first), [False] * len(second)
    marks = [True] * len(first), [True] * len(second)
    for index in range(parting):
        marks[0][index] = marks[1][index] = False
    if is_over:
        a, b = ([token.id for token in side[parting:]] for side in (first, second))
        for block in SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks():
            for index in range(block.size):
                marks[0][parting + block.a + index] = marks[1][parting + block.b + index] = False
    return marks
