"""Many tokens in little memory: an answer may have tens of thousands, each with its alternatives."""

import math
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

from picochat.engine.protocol import Alternative, TokenInfo


class TokenList(Sequence[TokenInfo]):
    """Tokens kept in columns, about a tenth of the memory of as many `TokenInfo`s.

    `kinds`, `texts` and `labels` may be read directly; an item is put together when it is asked for.
    """

    def __init__(self, tokens: Iterable[TokenInfo] = ()) -> None:
        self.kinds: list[str] = []
        self.texts: list[str] = []
        self.labels: list[str] = []
        self._ids = array("q")
        self._logprobs = array("f")
        self._entropies = array("f")  # NaN: not known
        self._forced = bytearray()
        self._ends = array("q")
        """Where the alternatives of each token end in the three columns below."""
        self._other_ids = array("q")
        self._other_logprobs = array("f")
        self._other_labels: list[str] = []
        self.extend(tokens)

    def append(self, token: TokenInfo) -> None:
        """Add a token."""
        self._add(
            token.id,
            token.kind,
            token.text,
            token.label,
            token.logprob,
            token.forced,
            token.entropy,
            token.alternatives,
        )

    def _add(
        self,
        id: int,
        kind: str,
        text: str,
        label: str,
        logprob: float,
        forced: bool,
        entropy: float | None,
        others: Sequence[Sequence[Any]],
    ) -> None:
        # The same few strings come again and again.
        self.kinds.append(sys.intern(kind))
        self.texts.append(sys.intern(text))
        self.labels.append(sys.intern(label))
        self._ids.append(id)
        self._logprobs.append(logprob)
        self._entropies.append(math.nan if entropy is None else entropy)
        self._forced.append(bool(forced))
        for other_id, other_label, other_logprob in others:
            self._other_ids.append(other_id)
            self._other_labels.append(sys.intern(other_label))
            self._other_logprobs.append(other_logprob)
        self._ends.append(len(self._other_ids))

    def extend(self, tokens: Iterable[TokenInfo]) -> None:
        """Add tokens."""
        for token in tokens:
            self.append(token)

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> TokenInfo: ...
    @overload
    def __getitem__(self, index: slice) -> "TokenList": ...
    def __getitem__(self, index: int | slice) -> "TokenInfo | TokenList":
        if isinstance(index, slice):
            return TokenList(self[i] for i in range(*index.indices(len(self))))
        index = range(len(self))[index]
        entropy = self._entropies[index]
        return TokenInfo(
            id=self._ids[index],
            kind=self.kinds[index],
            text=self.texts[index],
            label=self.labels[index],
            logprob=self.logprob(index),
            forced=bool(self._forced[index]),
            alternatives=self._alternatives(index),
            entropy=None if math.isnan(entropy) else round(entropy, 4),
        )

    def __iter__(self) -> Iterator[TokenInfo]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenList) and len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    @property
    def ids(self) -> list[int]:
        """All ids."""
        return self._ids.tolist()

    def logprob(self, index: int) -> float:
        """Return the log-probability of a token, in nats."""
        return round(self._logprobs[index], 4)

    def entropy(self, index: int) -> float:
        """Return the entropy at a token's place in nats, NaN where it is not known."""
        return self._entropies[index]

    def is_forced(self, index: int) -> bool:
        """Whether the engine put a token there."""
        return bool(self._forced[index])

    def _alternatives(self, index: int) -> tuple[Alternative, ...]:
        first, end = self._ends[index - 1] if index else 0, self._ends[index]
        return tuple(
            Alternative(self._other_ids[i], self._other_labels[i], round(self._other_logprobs[i], 4))
            for i in range(first, end)
        )

    def to_json(self, first: int, end: int) -> list[list[Any]]:
        """Return tokens as JSON, a short row each."""
        return [_row(self[index]) for index in range(first, end)]

    def extend_json(self, rows: Sequence[Sequence[Any]]) -> None:
        """Add what `to_json` returned. Raises TypeError or ValueError for anything else."""
        for id, kind, text, label, logprob, forced, entropy, others in rows:
            self._add(id, kind, text, text if label is None else label, logprob, forced, entropy, others)


def _row(token: TokenInfo) -> list[Any]:
    label = None if token.label == token.text else token.label
    others = [list(other) for other in token.alternatives]
    return [
        token.id,
        token.kind,
        token.text,
        label,
        token.logprob,
        int(token.forced),
        token.entropy,
        others,
    ]
