"""What a vocabulary is used for: how often tokens occur, how they came to be, where two vocabularies cut."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from picochat.tokenizer.tokenizer import Tokenizer
from picochat.tokenizer.vocabulary import NUM_BYTES


def token_counts(tokenizer: Tokenizer, counts: Mapping[str, int]) -> np.ndarray:
    """Return how often each id occurs in a text of these pieces, shape (V,)."""
    uses_V = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    for piece, count in counts.items():
        np.add.at(uses_V, np.frombuffer(tokenizer.encode_packed(piece), dtype=np.uint32), count)
    return uses_V


def unused_tokens(tokenizer: Tokenizer, uses_V: np.ndarray) -> list[int]:
    """Return the merged ids that a text with these uses does not hold: steps on the way to longer ones."""
    merged = range(NUM_BYTES, NUM_BYTES + len(tokenizer.merges))
    return [id for id in merged if uses_V[id] == 0]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A token that another one is made of."""

    id: int
    parent: int | None
    """Index of the whole among the parts; None for the token itself."""


def ancestry(tokenizer: Tokenizer, id: int) -> list[Part]:
    """Return the token, the two it was merged of, theirs, and so on down to bytes; wholes before parts."""
    parts = [Part(id=id, parent=None)]
    for index, part in enumerate(parts):
        if NUM_BYTES <= part.id < NUM_BYTES + len(tokenizer.merges):
            parts += [Part(id=child, parent=index) for child in tokenizer.merges[part.id - NUM_BYTES]]
    return parts


def differing(first: Sequence[int], second: Sequence[int]) -> tuple[list[bool], list[bool]]:
    """Return for each token of two encodings of one text whether the other lacks its span.

    first, second: lengths of the tokens in bytes.
    """
    assert sum(first) == sum(second)
    spans = [_spans(first), _spans(second)]
    common = set(spans[0]) & set(spans[1])
    flags = [[span not in common for span in some] for some in spans]
    return flags[0], flags[1]


def _spans(lengths: Sequence[int]) -> list[tuple[int, int]]:
    ends = list(accumulate(lengths))
    return list(zip([0, *ends], ends, strict=False))
