"""An answer as it is written: one light widget, however many tokens it has.

Only the last line is wrapped anew when tokens come, and only visible lines are drawn. The widget can be
walked through token by token, and coloured by how likely each was.
"""

import math
import re
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from picochat.engine.protocol import TokenInfo
from workbench.visible import visible

WORDS = re.compile(r"\n|[^\S\n]+|\S+")
KIND_STYLES = {
    "text": Style(),
    "thinking": Style(italic=True, dim=True),
    "tool_call": Style(color="#e0af68", bold=True),
    "tool_result": Style(color="#7dcfff", bold=True),
    "control": Style(color="#9d7cd8", dim=True),
    "note": Style(dim=True),
}
CURSOR = Style(reverse=True)
LIKELIHOODS = (
    (0.5, Style(color="#7aa2f7")),
    (0.1, Style(color="#c0caf5")),
    (0.02, Style(color="#e0af68", underline=True)),
    (0.0, Style(color="#ff9e64", bold=True, underline=True)),
)
"""Lowest probability and style, from blue to orange; the unlikely ones are underlined too."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of a token, or decoration that belongs to none (token -1)."""

    text: str
    kind: str
    token: int


Line = list[Piece]


class TokenText(Widget, can_focus=True):
    """The tokens of one answer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(-1)", "Token", show=False),
        Binding("right", "move(1)", "Token", show=False),
        Binding("up", "line(-1)", "Line", show=False),
        Binding("down", "line(1)", "Line", show=False),
        Binding("home", "move(-1000000)", "First token", show=False),
        Binding("end", "move(1000000)", "Last token", show=False),
    ]
    cursor: reactive[int] = reactive(-1)
    """Index of the token under the cursor, -1 for none."""

    class Inspected(Message):
        """The cursor came to a token."""

        def __init__(self, source: "TokenText", index: int) -> None:
            super().__init__()
            self.source = source
            self.index = index

        @property
        def control(self) -> "TokenText":
            return self.source

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.tokens: list[TokenInfo] = []
        self.is_coloured = False
        self.is_raw = False
        self.shows_thinking = False
        self._lines: list[Line] = [[]]
        self._width = 0
        self._waiting: list[TokenInfo] = []

    # What it shows

    def append(self, tokens: tuple[TokenInfo, ...] | list[TokenInfo]) -> None:
        """Take more tokens; they are drawn by the next `flush`."""
        self._waiting += tokens

    def flush(self) -> None:
        """Draw what was appended."""
        if not self._waiting:
            return
        first, before = len(self.tokens), len(self._lines)
        self.tokens += self._waiting
        self._waiting = []
        if not self._width:
            return
        for index in range(first, len(self.tokens)):
            self._add(index)
        self.refresh(layout=len(self._lines) != before)

    def replace(self, tokens: list[TokenInfo]) -> None:
        """Show other tokens instead."""
        self.tokens, self._waiting, self.cursor = list(tokens), [], -1
        self.rewrap()

    def rewrap(self) -> None:
        """Lay everything out anew, after the way of showing it has changed."""
        self._lines = [[]]
        if self._width:
            for index in range(len(self.tokens)):
                self._add(index)
        self.refresh(layout=True)

    def _pieces(self, index: int) -> list[Piece]:
        """Return what stands for a token on the screen."""
        token = self.tokens[index]
        if self.is_raw:
            label = token.label.replace("\n", "⏎\n")
            return [Piece(visible(label), token.kind, index), Piece("·", "note", -1)]
        pieces = []
        before = self.tokens[index - 1].kind if index else ""
        if token.kind == "thinking":
            if before != "thinking":
                mark = "▾ thinking\n" if self.shows_thinking else "▸ thinking …"
                pieces.append(Piece(mark, "note", -1))
            if not self.shows_thinking:
                return pieces
        elif token.kind == "tool_call" and before != "tool_call":
            pieces.append(Piece("⚙ ", "tool_call", -1))
        elif token.kind == "tool_result" and before != "tool_result":
            pieces.append(Piece(" → ", "note", -1))
        elif token.label in ("<|think_end|>", "<|tool_result_end|>"):
            pieces.append(Piece("\n" if token.label == "<|think_end|>" else " ", "note", -1))
        return [*pieces, Piece(visible(token.text), token.kind, index)]

    # Wrapping

    def _add(self, index: int) -> None:
        for piece in self._pieces(index):
            for match in WORDS.finditer(piece.text):
                self._add_word(Piece(match[0], piece.kind, piece.token))

    def _add_word(self, word: Piece) -> None:
        line = self._lines[-1]
        if word.text == "\n":
            line.append(Piece(" ", word.kind, word.token))
            self._lines.append([])
            return
        line.append(word)
        # A space may hang over the edge: it is not drawn there.
        if word.text.isspace() or sum(cell_len(piece.text) for piece in line) <= self._width:
            return
        start = next((i + 1 for i in range(len(line) - 1, -1, -1) if line[i].text[-1:].isspace()), 0)
        if start:
            self._lines.append(line[start:])
            del line[start:]
            line = self._lines[-1]
        while sum(cell_len(piece.text) for piece in line) > self._width:
            self._lines[-1], rest = _cut(line, self._width)
            self._lines.append(rest)
            line = rest

    # Drawing

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        if width != self._width:
            self._width = width
            self._lines = [[]]
            for index in range(len(self.tokens)):
                self._add(index)
        return len(self._lines)

    def render_line(self, y: int) -> Strip:
        if y >= len(self._lines):
            return Strip.blank(self.size.width, self.rich_style)
        base = self.rich_style
        segments = [Segment(piece.text, base + self._style(piece)) for piece in self._lines[y]]
        return Strip(segments).adjust_cell_length(self.size.width, base).crop(0, self.size.width)

    def _style(self, piece: Piece) -> Style:
        style = KIND_STYLES[piece.kind]
        if piece.token < 0:
            return style
        token = self.tokens[piece.token]
        if self.is_coloured and not token.forced:
            probability = math.exp(token.logprob)
            style += next(look for least, look in LIKELIHOODS if probability >= least)
        return style + CURSOR if piece.token == self.cursor and self.has_focus else style

    # The cursor

    def watch_cursor(self) -> None:
        self.refresh()
        if self.cursor >= 0:
            self.post_message(self.Inspected(self, self.cursor))

    def on_focus(self) -> None:
        if self.cursor < 0 and self.tokens:
            self.cursor = self._visible_token(len(self.tokens) - 1, -1)
        elif self.cursor >= 0:
            self.post_message(self.Inspected(self, self.cursor))
        self.refresh()

    def action_move(self, distance: int) -> None:
        """Move by tokens."""
        if self.tokens:
            aim = min(max(self.cursor + distance, 0), len(self.tokens) - 1)
            self.cursor = self._visible_token(aim, 1 if distance > 0 else -1)
            self._scroll_to_cursor()

    def action_line(self, distance: int) -> None:
        """Move by lines; at the ends the focus goes on to the next widget."""
        y = self._line_of_cursor() + distance
        while 0 <= y < len(self._lines):
            held = [piece.token for piece in self._lines[y] if piece.token >= 0]
            if held:
                self.cursor = held[0]
                self._scroll_to_cursor()
                return
            y += distance
        if distance < 0:
            self.screen.focus_previous()
        else:
            self.screen.focus_next()

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None or offset.y >= len(self._lines):
            return
        x = 0
        for piece in self._lines[offset.y]:
            x += cell_len(piece.text)
            if offset.x < x:
                if piece.token >= 0:
                    self.cursor = piece.token
                return

    def _visible_token(self, index: int, direction: int) -> int:
        """Return `index`, or the next token in a direction that is on the screen; else where it was."""
        shown = {piece.token for line in self._lines for piece in line}
        ahead = range(index, len(self.tokens)) if direction > 0 else range(index, -1, -1)
        behind = range(index, -1, -1) if direction > 0 else range(index, len(self.tokens))
        return next((i for i in (*ahead, *behind) if i in shown), self.cursor)

    def _line_of_cursor(self) -> int:
        found = (y for y, line in enumerate(self._lines) if any(p.token == self.cursor for p in line))
        return next(found, 0)

    def _scroll_to_cursor(self) -> None:
        region = Region(0, self.content_offset.y + self._line_of_cursor(), 1, 1)
        self.scroll_visible_region(region)

    def scroll_visible_region(self, region: Region) -> None:
        """Bring a part of this widget into view."""
        for ancestor in self.ancestors:
            if isinstance(ancestor, Widget) and ancestor.allow_vertical_scroll:
                ancestor.scroll_to_region(region.translate(self.virtual_region.offset), animate=False)
                return


def _cut(line: Line, width: int) -> tuple[Line, Line]:
    """Cut a line of one long word after at most `width` cells."""
    head: Line = []
    room = width
    for position, piece in enumerate(line):
        size = cell_len(piece.text)
        if size <= room:
            head.append(piece)
            room -= size
            continue
        length = 0
        while cell_len(piece.text[: length + 1]) <= room:
            length += 1
        # A character wider than the widget has to go somewhere.
        length = length or (0 if head else 1)
        if length:
            head.append(Piece(piece.text[:length], piece.kind, piece.token))
        tail = [Piece(piece.text[length:], piece.kind, piece.token)] if piece.text[length:] else []
        return head, [*tail, *line[position + 1 :]]
    return head, []
