"""Bits per byte: how well a model predicts text, comparable between tokenizers.

B: rows of a batch, T: positions, V: vocabulary. The measure is exact by definition: the sum over documents
of -log2 p(token | <|bos|>, the tokens before it), over the documents' length in UTF-8 bytes. Each token is
scored once; `<|bos|>` is given, and no end of a document is predicted.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from picochat.data.batch import IGNORE
from picochat.errors import UserError
from picochat.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    from picochat.data.shards import TokenShards

_SORTED_BATCHES = 32
"""Windows are sorted by length over this many batches, so that rows of a batch need little padding."""


class TokenLoss(Protocol):
    """What is asked of a model here."""

    @property
    def device(self) -> torch.device: ...

    def loss_per_token(self, ids_BT: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
        """Return -log p(target) in nats, (B, T); 0 where the target is IGNORE."""
        ...


@dataclass(frozen=True, kw_only=True)
class BitsPerByte:
    """How many bits the model needs for how much text."""

    bits: float
    """Sum of -log2 p over all tokens."""
    bytes: int
    """Length of all documents in UTF-8."""
    tokens: int
    documents: int

    @property
    def bpb(self) -> float:
        """Bits per byte: less is better; 8 is what an untrained model of bytes needs."""
        return self.bits / self.bytes

    @property
    def loss(self) -> float:
        """Mean -log p of a token in nats; comparable only between equal tokenizers."""
        return self.bits * math.log(2) / self.tokens


@dataclass(frozen=True)
class _Window:
    """A row: the tokens to predict, each from `<|bos|>` and the tokens before it in the window."""

    tokens: np.ndarray
    num_context: int
    """Tokens at its beginning that another window has scored."""


def bits_per_byte(
    model: TokenLoss,
    documents: "Iterable[Sequence[int] | np.ndarray] | TokenShards",
    *,
    tokenizer: Tokenizer,
    seq_len: int,
    batch_size: int = 8,
    progress: Callable[[int], None] | None = None,
) -> BitsPerByte:
    """Return the bits per byte of `model` on `documents` (token ids without `<|bos|>`).

    A document of more than `seq_len` tokens is scored in windows that overlap by half: after the first one,
    each begins with `<|bos|>` and half a window of tokens already scored. Neither batch size nor padding nor
    the order of the documents changes the result but for the rounding of the model's own float32 sums.

    progress: called with the number of tokens scored so far.

    Raises:
        UserError: the documents hold no token.
    """
    if not isinstance(documents, Iterable):
        documents = map(documents.document, range(documents.num_documents))
    count = _Count(np.asarray(tokenizer.num_bytes))
    windows = _windows(count.over(documents), seq_len)
    bits = 0.0
    num_scored = 0
    while some := list(islice(windows, batch_size * _SORTED_BATCHES)):
        some.sort(key=lambda window: len(window.tokens))
        for start in range(0, len(some), batch_size):
            batch = some[start : start + batch_size]
            bits += _nats(model, batch, tokenizer.special["<|bos|>"]) / math.log(2)
            num_scored += sum(len(window.tokens) - window.num_context for window in batch)
            if progress is not None:
                progress(num_scored)
    if count.tokens == 0:
        raise UserError("no text to measure bits per byte on: the documents are empty")
    assert num_scored == count.tokens
    return BitsPerByte(bits=bits, bytes=count.bytes, tokens=count.tokens, documents=count.documents)


class _Count:
    """Counts documents, tokens and bytes as they pass."""

    def __init__(self, num_bytes_V: np.ndarray) -> None:
        self.num_bytes_V = num_bytes_V
        self.documents = self.tokens = self.bytes = 0

    def over(self, documents: Iterable[Sequence[int] | np.ndarray]) -> Iterator[np.ndarray]:
        for document in documents:
            tokens = np.asarray(document, dtype=np.int64)
            self.documents += 1
            self.tokens += len(tokens)
            self.bytes += int(self.num_bytes_V[tokens].sum())
            yield tokens


def _windows(documents: Iterable[np.ndarray], seq_len: int) -> Iterator[_Window]:
    assert seq_len >= 1
    for tokens in documents:
        num_scored = 0
        while num_scored < len(tokens):
            num_context = min(num_scored, seq_len // 2)
            start = num_scored - num_context
            window = _Window(tokens[start : start + seq_len], num_context)
            yield window
            num_scored = start + len(window.tokens)


@torch.no_grad()
def _nats(model: TokenLoss, windows: list[_Window], bos_id: int) -> float:
    T = max(len(window.tokens) for window in windows)
    # Padding stands on the right, where nothing attends to it, and carries no loss.
    ids_BT = torch.full((len(windows), T), bos_id)
    targets_BT = torch.full((len(windows), T), IGNORE)
    for b, window in enumerate(windows):
        tokens = torch.from_numpy(window.tokens)
        ids_BT[b, 1 : len(tokens)] = tokens[:-1]
        targets_BT[b, window.num_context : len(tokens)] = tokens[window.num_context :]
    loss_BT = model.loss_per_token(ids_BT.to(model.device), targets_BT.to(model.device))
    return loss_BT.cpu().double().sum().item()
