"""Conversations for supervised fine-tuning: read from JSON Lines, packed whole into rows.

B: rows of a batch, T: input tokens of a row.
"""

import hashlib
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch

from picochat.data.bad_rows import BadRows, OnBadRow
from picochat.data.batch import IGNORE, Batch
from picochat.data.jsonl import MAX_LINE_BYTES, field_names, iter_lines, parse_object
from picochat.data.mixture import Draw, Mixture
from picochat.errors import UserError
from picochat.tokenizer.conversation import Message, Rendered, parse_messages, render_conversation
from picochat.tokenizer.tokenizer import Tokenizer

_PUT_BACK = "put it back as it was and resume, or start a new run with --load"

LOOK_AHEAD = 128
"""Conversations to choose the next one of a row from."""

_ROW = np.dtype([("offset", "<i8"), ("checksum", "<u4")])
"""Where a row begins in its file, and the CRC-32 of its bytes."""


class Conversations:
    """The conversations of a JSON Lines file, or of all in a folder, as a random-access sequence.

    A row is `{"messages": [{"role": ..., "content": ...}, ...]}`; other fields are ignored. All rows are
    checked at construction, but only their places and checksums are kept: an item is read and rendered when
    asked for, and a row that is not the one checked is an error.
    """

    def __init__(
        self, path: str | Path, tokenizer: Tokenizer, *, on_bad_row: OnBadRow | BadRows = "stop"
    ) -> None:
        """on_bad_row: stop at a row that is no conversation with an answer in it, or skip it; see `BadRows`.

        Raises:
            UserError: no such file, a bad row (named file:line), or no conversation at all.
        """
        self.path = Path(path)
        self.tokenizer = tokenizer
        self.bad_rows = BadRows.of(on_bad_row)
        self._files = _jsonl_files(self.path)
        rows = [np.fromiter(self._good_rows(file), dtype=_ROW) for file in self._files]
        self._rows = np.concatenate(rows)
        self._ends = list(accumulate(len(of_file) for of_file in rows))
        self.fingerprint = hashlib.sha256(self._rows["checksum"].tobytes()).hexdigest()
        """Equal for equal rows in the same order."""
        if len(self) == 0:
            left_out = f" ({self.bad_rows.summary()})" if self.bad_rows.count else ""
            raise UserError(
                f'{self.path}: no conversation in it{left_out}; give rows of {{"messages": [{{"role": "user",'
                ' "content": "..."}, {"role": "assistant", "content": "..."}]}'
            )

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Rendered:
        """Return conversation `index` as ids and a mask of the tokens the assistant has to produce."""
        return render_conversation(self.tokenizer, self.messages(index))

    def messages(self, index: int) -> list[Message]:
        """Return conversation `index` as messages.

        Raises:
            UserError: the file is gone, or the row in it is another one by now.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        file = self._files[bisect_right(self._ends, index)]
        offset, checksum = self._rows[index].item()
        try:
            with file.open("rb") as stream:
                stream.seek(offset)
                data = stream.readline(MAX_LINE_BYTES).rstrip(b"\r\n")
        except OSError as error:
            raise UserError(f"{file}: can not be read any more ({error.strerror}); {_PUT_BACK}") from error
        if zlib.crc32(data) != checksum:
            raise UserError(f"{file}: has changed while it was in use; {_PUT_BACK}")
        return _parse(data, where=f"{file}: byte {offset}")

    def _good_rows(self, file: Path) -> Iterator[tuple[int, int]]:
        for line in iter_lines(file, self.bad_rows):
            try:
                _parse(line.data, where=f"{file}:{line.number}")
            except UserError as error:
                self.bad_rows.add(str(error))
            else:
                yield line.offset, zlib.crc32(line.data)


class PackedConversations:
    """An endless source of batches of whole conversations, drawn from a mixture.

    A row begins with the conversation that has waited longest, so that the shares of the mixture hold; then
    the longest of the look-ahead that fits is added until none does, and `<|pad|>` fills the rest. A
    conversation longer than a row is cut at its end and counted in `num_truncated`; if no token to learn is
    left of it, it is not used at all and counted in `num_unusable`.
    """

    def __init__(self, mixture: Mixture[Rendered], *, pad_id: int, batch_size: int, seq_len: int) -> None:
        """mixture: of `Conversations`, or of other sequences of `Rendered`. batch_size: B. seq_len: T."""
        assert batch_size >= 1
        assert seq_len >= 1
        self.mixture = mixture
        self.pad_id = pad_id
        self.batch_size = batch_size
        self.seq_len = seq_len
        self.num_truncated = 0
        self.num_unusable = 0
        self._buffer: list[tuple[Draw, Rendered]] = []  # oldest first

    def __next__(self) -> Batch:
        """Return the next B rows; targets_BT is IGNORE except where the assistant's tokens are predicted."""
        shape = (self.batch_size, self.seq_len + 1)
        ids = np.full(shape, self.pad_id, dtype=np.int64)
        targets = np.full(shape, IGNORE, dtype=np.int64)
        before = list(self._buffer)
        try:
            for row_ids, row_targets in zip(ids, targets, strict=True):
                self._fill(row_ids, row_targets)
        except UserError:
            self._buffer = before  # `load_state_dict` then needs no file, which may be gone
            raise
        return Batch(
            ids_BT=torch.from_numpy(ids)[:, :-1].contiguous(),
            targets_BT=torch.from_numpy(targets)[:, 1:].contiguous(),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the position as a small JSON value: that of the mixture and the draws of the look-ahead."""
        return {
            "mixture": self.mixture.state_dict(),
            "buffer": [list(draw) for draw, _ in self._buffer],
            "num_truncated": self.num_truncated,
            "num_unusable": self.num_unusable,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a saved position; the mixture must be of the same data sets."""
        self.mixture.load_state_dict(state["mixture"])
        draws = [Draw(*draw) for draw in state["buffer"]]
        known = dict(self._buffer)
        self._buffer = [(draw, known.get(draw) or self._cut(self.mixture.get(draw))) for draw in draws]
        self.num_truncated = state["num_truncated"]
        self.num_unusable = state["num_unusable"]

    def _fill(self, row_ids: np.ndarray, row_targets: np.ndarray) -> None:
        at, index = 0, 0
        while True:
            self._refill()
            _, rendered = self._buffer.pop(index)
            end = at + len(rendered.ids)
            row_ids[at:end] = rendered.ids
            row_targets[at:end] = np.where(rendered.mask, rendered.ids, IGNORE)
            at = end
            lengths = np.array([len(waiting.ids) for _, waiting in self._buffer])
            fitting = np.where(lengths <= len(row_ids) - at, lengths, 0)
            index = int(np.argmax(fitting))  # the first of the longest is the oldest
            if fitting[index] == 0:
                return

    def _refill(self) -> None:
        unusable_in_a_row = 0
        patience = max(10_000, 2 * sum(map(len, self.mixture.datasets)))
        while len(self._buffer) < LOOK_AHEAD:
            draw = self.mixture.draw()
            rendered = self.mixture.get(draw)
            cut = self._cut(rendered)
            if not any(cut.mask[1:]):
                self.num_unusable += 1
                unusable_in_a_row += 1
                if unusable_in_a_row > patience:
                    raise UserError(
                        f"no conversation has an answer within {self.seq_len} tokens; raise --seq-len"
                    )
                continue
            unusable_in_a_row = 0
            self.num_truncated += len(cut.ids) < len(rendered.ids)
            self._buffer.append((draw, cut))

    def _cut(self, rendered: Rendered) -> Rendered:
        length = self.seq_len + 1
        return Rendered(ids=rendered.ids[:length], mask=rendered.mask[:length])


def _parse(data: bytes, *, where: str) -> list[Message]:
    row = parse_object(data, where=where)
    if "messages" not in row:
        raise UserError(f'{where}: no field "messages"; it has: {field_names(row)}')
    messages = parse_messages(row["messages"], where=where)
    if not any(message.role == "assistant" for message in messages):
        raise UserError(f"{where}: no assistant message, so there is nothing to learn from it")
    return messages


def _jsonl_files(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*.jsonl") if file.is_file())
        if not files:
            raise UserError(f"{path}: no .jsonl file in this folder")
        return files
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if path.suffix != ".jsonl":
        raise UserError(f"{path}: conversations are read from .jsonl, one object per line")
    return [path]
