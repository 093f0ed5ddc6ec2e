"""Breaks pieces of text into lines as they come; what stands in earlier lines never changes."""

import re
from typing import NamedTuple

from rich.cells import cell_len

WORDS = re.compile(r"\n|[^\S\n]+|\S+")


class Piece(NamedTuple):
    """Text of a token, or decoration that belongs to none (token -1)."""

    text: str
    kind: str
    token: int


Line = list[Piece]


class Wrapper:
    """Lines of at most `width` cells; a space may hang over the edge, it is not to be drawn there."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.lines: list[Line] = [[]]
        self.ended: set[int] = set()
        """Lines that end with a line break of the text, not of ours."""
        self._used = 0  # cells of the last line

    def add(self, piece: Piece) -> None:
        """Add a piece, which may hold several words and line breaks."""
        text = piece.text
        if " " not in text and "\n" not in text and "\t" not in text and text:
            self._add_word(piece)
            return
        for match in WORDS.finditer(text):
            self._add_word(Piece(match[0], piece.kind, piece.token))

    def _add_word(self, word: Piece) -> None:
        line = self.lines[-1]
        if word.text == "\n":
            # A cell for the cursor.
            line.append(Piece(" ", word.kind, word.token))
            self.ended.add(len(self.lines) - 1)
            self._begin_line([])
            return
        line.append(word)
        self._used += cell_len(word.text)
        if self._used <= self.width or word.text.isspace():
            return
        # The word may have begun in earlier pieces.
        start = next((i + 1 for i in range(len(line) - 1, -1, -1) if line[i].text[-1:].isspace()), 0)
        if start:
            moved = line[start:]
            del line[start:]
            self._begin_line(moved)
        while self._used > self.width:
            self.lines[-1], rest = cut(self.lines[-1], self.width)
            self._begin_line(rest)

    def _begin_line(self, pieces: Line) -> None:
        self.lines.append(pieces)
        self._used = sum(cell_len(piece.text) for piece in pieces)


def cut(line: Line, width: int) -> tuple[Line, Line]:
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
