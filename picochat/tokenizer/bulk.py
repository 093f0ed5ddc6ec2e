"""Encoding at bulk speed: a text is cut by `regex`, and each piece's ids come from a bounded cache.

`tokenizers` stays the definition of what the ids are; it is asked once per distinct piece. Where the two
libraries could cut differently (letters that only the newer of two Unicode versions knows) the whole text
goes to `tokenizers`.
"""

from array import array
from collections.abc import Callable

from picochat.tokenizer.pieces import PATTERN, splitter

MAX_PIECES = 1 << 18
MAX_PIECE_LENGTH = 64


class CutsDiffer(Exception):
    """A character belongs to different classes in `regex` and in `tokenizers`."""


class PieceCache(dict[str, bytes]):
    """Piece of text -> its ids as native uint32 bytes; fills itself, and starts anew when it is full.

    encode_piece: ids of one piece.  split: the pieces `tokenizers` makes of a text, to compare with.
    """

    def __init__(self, encode_piece: Callable[[str], list[int]], split: Callable[[str], list[str]]) -> None:
        super().__init__()
        self._encode_piece = encode_piece
        self._split = split
        self._agreed: set[str] = {chr(code) for code in range(128)}

    def encode(self, text: str) -> bytes:
        """Ids of `text` as native uint32 bytes. Raises CutsDiffer when `tokenizers` must do it."""
        return b"".join(map(self.__getitem__, splitter().findall(text)))

    def __missing__(self, piece: str) -> bytes:
        if not piece.isascii():
            for char in set(piece) - self._agreed:
                self.check_character(char)
        ids = array("I", self._encode_piece(piece)).tobytes()
        if len(piece) <= MAX_PIECE_LENGTH:
            if len(self) >= MAX_PIECES:
                self.clear()
            self[piece] = ids
        return ids

    def check_character(self, char: str) -> None:
        """Raise CutsDiffer for a character that `tokenizers` would cut otherwise."""
        # A letter, a digit, a sign and a space each give other pieces here.
        probe = f"'{char}!x{char}{char}1{char}  {char} \n"
        if splitter().findall(probe) != self._split(probe):
            raise CutsDiffer(char)
        self._agreed.add(char)


def can_cache(pattern: str) -> bool:
    """Only the pattern that both libraries are proven to read alike."""
    return pattern == PATTERN
