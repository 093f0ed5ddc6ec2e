"""Counting and encoding of much text, by compiled loops. Importing this module imports numba.

What a character is (letter, number, space) is asked of `regex`, once each. `tokenizers` stays the definition
of what the ids are: the tests hold the loops to it.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from picochat.tokenizer import piece_loops as loops
from picochat.tokenizer.pieces import kind_pattern
from picochat.tokenizer.vocabulary import NUM_BYTES

MAX_PIECES = 1 << 18
MAX_IDS = 1 << 21
"""Ids that are kept for all pieces together."""
KINDS = {
    "letter": loops.LETTER,
    "number": loops.NUMBER,
    "line_end": loops.LINE_END,
    "space": loops.SPACE,
    "other": loops.OTHER,
}


class Text:
    """Documents as UTF-8, one after another."""

    def __init__(self, documents: Sequence[bytes]) -> None:
        self.bytes = np.frombuffer(b"".join(documents), dtype=np.uint8)
        self.ends = np.cumsum([len(document) for document in documents], dtype=np.int64)


class Kinds:
    """What the split pattern takes each character for; learned when a character is first seen."""

    def __init__(self, check: Callable[[str], None] | None = None) -> None:
        """check: called with each new character that is not ASCII; what it raises is passed on."""
        self.of_code = np.zeros(loops.NUM_CODES, dtype=np.uint8)
        self._check = check
        for code in range(128):
            self._learn(chr(code))

    def _learn(self, char: str) -> None:
        match = kind_pattern().fullmatch(char)
        assert match is not None
        assert match.lastgroup is not None
        self.of_code[ord(char)] = KINDS[match.lastgroup]

    def learn_all(self, text: np.ndarray) -> None:
        """Learn the kinds of all characters of UTF-8 text."""
        while (code := loops.first_unknown(text, self.of_code)) >= 0:
            if self._check is not None:
                self._check(chr(code))
            self._learn(chr(code))


class PieceTable:
    """A hash table of pieces; see `piece_loops`."""

    def __init__(self) -> None:
        self.slots = np.zeros(4 * MAX_PIECES, dtype=np.int32)
        self.names = np.empty((MAX_PIECES + 1) * loops.LONGEST, dtype=np.uint8)
        self.starts = np.zeros(MAX_PIECES + 1, dtype=np.int64)
        self.size = 0

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the loops take."""
        return self.slots, self.names, self.starts

    def clear(self) -> None:
        """Forget all pieces."""
        self.slots[:] = 0
        self.size = 0


class PieceCounter:
    """How often each piece of the split pattern occurs."""

    def __init__(self) -> None:
        self._kinds = Kinds()
        self._table = PieceTable()
        self._counts = np.zeros(MAX_PIECES, dtype=np.int64)

    def add(self, documents: Sequence[bytes], counts: Counter[str]) -> None:
        """Count the pieces of documents in UTF-8; they are in `counts` after `flush`."""
        text, table = Text(documents), self._table
        self._kinds.learn_all(text.bytes)
        document = at = 0
        while True:
            document, at, table.size = loops.count(
                *(text.bytes, text.ends, self._kinds.of_code, *table.arrays, self._counts),
                *(document, at, table.size),
            )
            if document == len(documents):
                return
            end = loops.piece_end(text.bytes, at, text.ends[document], self._kinds.of_code)
            if end - at <= loops.LONGEST:
                self.flush(counts)
            else:
                counts[text.bytes[at:end].tobytes().decode()] += 1
                at = end

    def flush(self, counts: Counter[str]) -> None:
        """Add what was counted to `counts`."""
        table = self._table
        names = table.names.tobytes()
        bounds = table.starts[: table.size + 1].tolist()
        for entry, count in enumerate(self._counts[: table.size].tolist()):
            counts[names[bounds[entry] : bounds[entry + 1]].decode()] += count
        table.clear()


class BulkEncoder:
    """The ids of much text."""

    def __init__(
        self,
        merges: Sequence[tuple[int, int]],
        *,
        encode_piece: Callable[[str], list[int]],
        check: Callable[[str], None],
    ) -> None:
        """merges: pairs of ids; merge i makes id 256 + i.  encode_piece: ids of a long piece.
        check: raises for a character that must not be cut here."""
        self._encode_piece = encode_piece
        self._kinds = Kinds(check)
        self._table = PieceTable()
        self._ids = np.empty(MAX_IDS, dtype=np.uint32)
        self._id_starts = np.zeros(MAX_PIECES + 1, dtype=np.int64)
        num_slots = 1 << (4 * len(merges) + 1).bit_length()
        self._pairs = np.full(num_slots, -1, dtype=np.int64)
        self._merged = np.zeros(num_slots, dtype=np.int32)
        pairs_M2 = np.array(merges, dtype=np.int64).reshape(-1, 2)
        loops.fill_pairs(pairs_M2[:, 0].copy(), pairs_M2[:, 1].copy(), NUM_BYTES, self._pairs, self._merged)

    def encode(self, documents: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of documents in UTF-8, uint32, and how many each has, int64.

        Raises what `check` raises.
        """
        text, table = Text(documents), self._table
        self._kinds.learn_all(text.bytes)
        # No id stands for less than a byte.
        out = np.empty(len(text.bytes), dtype=np.uint32)
        ends = np.zeros(len(documents), dtype=np.int64)
        state = np.array([0, 0, 0, table.size])
        while True:
            loops.encode(
                *(text.bytes, text.ends, self._kinds.of_code, *table.arrays),
                *(self._ids, self._id_starts, self._pairs, self._merged, out, ends, state),
            )
            document, at, num_out, table.size = state.tolist()
            if document == len(documents):
                return out[:num_out], np.diff(ends, prepend=0)
            end = loops.piece_end(text.bytes, at, text.ends[document], self._kinds.of_code)
            if end - at <= loops.LONGEST:
                table.clear()
                state[3] = 0
                continue
            ids = self._encode_piece(text.bytes[at:end].tobytes().decode())
            out[num_out : num_out + len(ids)] = ids
            state[1], state[2] = end, num_out + len(ids)
