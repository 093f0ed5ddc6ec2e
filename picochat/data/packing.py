"""Rows of tokens for pretraining: documents shuffled, packed by best fit, every row beginning with BOS.

B: rows of a batch, T: input tokens of a row. A row has T + 1 tokens: inputs and, one further on, targets.
"""

from bisect import bisect_left, insort
from typing import Any, NamedTuple

import numpy as np
import torch

from picochat.data.batch import Batch
from picochat.data.shards import TokenShards
from picochat.errors import UserError

LOOK_AHEAD = 256
"""Pieces to choose the next one from. More cut fewer documents; past some hundred the gain is small."""

_DOCUMENTS_PER_RELEASE = 4096
"""After so many documents, read all over the file, its pages are given back (64 KiB come with each)."""


class _Piece(NamedTuple):
    """What is left of a document. Ordered by length; of the same length the older is the greater."""

    length: int
    youth: int
    """Negative; the older the nearer to zero."""
    document: int
    start: int


class PackedDocuments:
    """An endless source of batches in which every position carries loss and no token is lost.

    A row is filled from a look-ahead buffer of pieces of documents: again and again the longest piece that
    fits, BOS before it. When none fits, the longest of all is cut to fill the row, and its rest goes back
    into the buffer as a piece of its own, which will begin with BOS too. Cutting the longest leaves the
    longest rest, so that scraps of a few tokens stay rare. Should only one place be left, a BOS fills it.

    In an epoch every token of every document stands in exactly one row, and is a target there; it is an input
    too unless it is the last of its row. The buffer is emptied before the next epoch, with another order,
    begins: a corpus of fewer than `LOOK_AHEAD` documents is therefore packed longest first.
    """

    def __init__(self, shards: TokenShards, *, bos_id: int, batch_size: int, seq_len: int, seed: int) -> None:
        """shards: the corpus. batch_size: B. seq_len: T. seed: epoch e is shuffled by (seed, e).

        Raises:
            UserError: the corpus has no token.
        """
        if shards.num_tokens == 0:
            raise UserError("the training data has no token; give files with text")
        assert batch_size >= 1
        assert seq_len >= 1
        self.shards = shards
        self.bos_id = bos_id
        self.batch_size = batch_size
        self.seq_len = seq_len
        self.seed = seed
        self._begin_epoch(0)

    def __next__(self) -> Batch:
        """Return the next B rows: ids_BT, and as targets_BT the same one position on; both int64."""
        rows = np.empty((self.batch_size, self.seq_len + 1), dtype=np.int64)
        for row in rows:
            self._fill(row)
        rows_BT1 = torch.from_numpy(rows)
        return Batch(ids_BT=rows_BT1[:, :-1].contiguous(), targets_BT=rows_BT1[:, 1:].contiguous())

    def state_dict(self) -> dict[str, Any]:
        """Return the position as a small JSON value: the place in the epoch and the buffer, oldest first."""
        oldest_first = sorted(self._buffer, key=lambda piece: -piece.youth)
        return {
            "shards": self.shards.fingerprint,
            "seed": self.seed,
            "epoch": self.epoch,
            "cursor": self._cursor,
            "buffer": [[piece.document, piece.start] for piece in oldest_first],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a saved position. Batch and row sizes may differ from those it was saved with.

        Raises:
            UserError: it is a position in other data, or in another order of it.
        """
        if state["shards"] != self.shards.fingerprint:
            raise UserError(
                "the training data or the tokenizer is not the one this run began with; give the same files,"
                " or start a new run with --load"
            )
        if state["seed"] != self.seed:
            raise UserError(
                f"the run began with --seed {state['seed']}, not {self.seed}; resume it with the same"
            )
        self._begin_epoch(state["epoch"])
        self._cursor = state["cursor"]
        for document, start in state["buffer"]:
            self._add(document, start)

    def _begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        """Passes over the corpus completed so far."""
        generator = np.random.Generator(np.random.PCG64([self.seed, epoch]))
        small = self.shards.num_documents < 1 << 31
        self._order = generator.permutation(
            np.arange(self.shards.num_documents, dtype=np.int32 if small else np.int64)
        )
        self._cursor = 0
        self._buffer: list[_Piece] = []
        self._num_added = 0

    def _add(self, document: int, start: int) -> None:
        offsets = self.shards.offsets_M
        length = int(offsets[document + 1] - offsets[document]) - start
        if length:  # a document without tokens is not a piece
            self._num_added += 1
            insort(self._buffer, _Piece(length, -self._num_added, document, start))

    def _refill(self) -> None:
        """Top the buffer up with documents of the epoch; begin the next when nothing at all is left of it."""
        while True:
            while len(self._buffer) < LOOK_AHEAD and self._cursor < len(self._order):
                document = int(self._order[self._cursor])
                self._cursor += 1
                self._add(document, 0)
                if self._cursor % _DOCUMENTS_PER_RELEASE == 0:
                    self.shards.release_pages()
            if self._buffer:
                return
            self._begin_epoch(self.epoch + 1)

    def _fill(self, row: np.ndarray) -> None:
        """Fill one row of T + 1 places."""
        tokens, offsets = self.shards.tokens_N, self.shards.offsets_M
        at = 0
        while at < len(row):
            row[at] = self.bos_id
            at += 1
            room = len(row) - at
            if room == 0:
                return
            self._refill()
            # Ordered by length: the one before the first that is too long; -1, the longest, if none fits.
            length, _, document, start = self._buffer.pop(bisect_left(self._buffer, (room + 1,)) - 1)
            taken = min(length, room)
            begin = int(offsets[document]) + start
            row[at : at + taken] = tokens[begin : begin + taken]
            at += taken
            if taken < length:
                self._add(document, start + taken)
