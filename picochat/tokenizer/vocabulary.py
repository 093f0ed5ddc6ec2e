"""What a tokenizer knows, apart from any file format: its merges, its size and its split pattern."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from picochat.errors import UserError
from picochat.tokenizer.pieces import PATTERN
from picochat.tokenizer.special import NUM_SPECIAL, SPECIAL_TOKENS

NUM_BYTES = 256
MIN_VOCAB_SIZE = NUM_BYTES + NUM_SPECIAL
MAX_VOCAB_SIZE = 1 << 20

Merge = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Ids 0..255 are the bytes, 256+i is merge i, the last sixteen are the specials.

    Ids between the last merge and the specials are unused: training stopped early, no text encodes to them.
    Raises UserError when the parts do not make a vocabulary; the message has no path, the caller knows it.
    """

    merges: tuple[Merge, ...]
    """Pairs of ids, in the order in which they are applied."""
    vocab_size: int
    """Number of ids, the sixteen specials included."""
    pattern: str = PATTERN
    """Regular expression (Oniguruma) that cuts text into pieces."""

    def __post_init__(self) -> None:
        check_vocab_size(self.vocab_size)
        room = self.vocab_size - MIN_VOCAB_SIZE
        if len(self.merges) > room:
            raise UserError(
                f"{len(self.merges)} merges do not fit a vocabulary of {self.vocab_size}: beside 256 bytes "
                f"and {NUM_SPECIAL} specials there is room for {room}; use its original file"
            )
        self._check_tokens()
        if self.pattern != PATTERN:
            self._check_pattern()

    def _check_pattern(self) -> None:
        import regex

        try:
            regex.compile(self.pattern)
        except regex.error as error:
            raise UserError(f"its split pattern is not a regular expression: {error}") from error

    def _check_tokens(self) -> None:
        tokens = [bytes([byte]) for byte in range(NUM_BYTES)]
        # Training can not give one spelling twice: inside the same bytes the same merges happen.
        taken = {special.encode() for special in SPECIAL_TOKENS}
        for i, (left, right) in enumerate(self.merges):
            if not (0 <= left < len(tokens) and 0 <= right < len(tokens)):
                raise UserError(
                    f"merge {i} joins ids {left} and {right}, but only ids below {len(tokens)} exist "
                    f"before it; use its original file"
                )
            token = tokens[left] + tokens[right]
            if token in taken:
                raise UserError(
                    f"merge {i} ({left}, {right}) spells {token!r}, which another token is already"
                )
            taken.add(token)
            tokens.append(token)

    def token_table(self) -> list[bytes]:
        """The bytes of each id: empty for an unused one, the literal for a special."""
        tokens = [bytes([byte]) for byte in range(NUM_BYTES)]
        tokens += (b"",) * (self.vocab_size - MIN_VOCAB_SIZE)
        for i, (left, right) in enumerate(self.merges):
            tokens[NUM_BYTES + i] = tokens[left] + tokens[right]
        return tokens + [special.encode() for special in SPECIAL_TOKENS]

    def special_ids(self) -> dict[str, int]:
        """Id of each special token by its literal."""
        return {special: self.vocab_size - NUM_SPECIAL + k for k, special in enumerate(SPECIAL_TOKENS)}

    def fingerprint(self) -> str:
        """sha256 (hex) of everything that decides the ids of a text."""
        parts = [self.vocab_size, self.pattern, list(SPECIAL_TOKENS), [list(merge) for merge in self.merges]]
        return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()


def check_vocab_size(vocab_size: int) -> None:
    """Raise UserError unless 256 bytes and the specials fit, and the number is a sane one."""
    if not MIN_VOCAB_SIZE <= vocab_size <= MAX_VOCAB_SIZE:
        raise UserError(
            f"vocabulary size {vocab_size} is out of range: give {MIN_VOCAB_SIZE} "
            f"(256 bytes and {NUM_SPECIAL} specials) to {MAX_VOCAB_SIZE}"
        )


def as_merges(pairs: Iterable[Iterable[int]]) -> tuple[Merge, ...]:
    """Merges as a tuple of pairs of Python ints."""
    return tuple((int(left), int(right)) for left, right in pairs)
