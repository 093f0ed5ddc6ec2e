"""Token shards: a corpus tokenised once, memory-mapped ever after.

A shard folder holds `tokens.bin` (ids of all documents one after another, uint16 or uint32, little endian),
`offsets.bin` (int64: where each document begins, and the end) and `meta.json`. N: tokens, M: documents.

`meta.json` has the CRC-32 of it all, which is compared once each time the shard is wanted (0.05 to 0.1 s per
100 MB that the system has cached), and a shard with a single flipped bit is made again: training on it would
go on silently, or fail far from here with an id outside the vocabulary.
"""

import hashlib
import json
import mmap
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from picochat.data.bad_rows import BadRows, OnBadRow
from picochat.data.cache import build_once, default_cache_dir, remembered_sha256
from picochat.data.text import Paths, file_kind, find_files, iter_groups, name_files
from picochat.data.token_workers import TokenizedBatch, tokenize_batches
from picochat.errors import UserError
from picochat.kernels.choice import Kernels
from picochat.tokenizer.tokenizer import Tokenizer

_FORMAT = 1
"""Raise it when a reader or the tokenisation changes what a shard holds: old shards are then not found."""

_BATCH_CHARS = 1 << 20
_TOKENS_PER_COUNT = 1 << 22
_CHECK_BYTES = 1 << 20


class TokenShards:
    """The tokens of a corpus, by document; read-only and shared between processes by the operating system."""

    def __init__(
        self,
        tokens_N: np.ndarray,
        offsets_M: np.ndarray,
        *,
        num_bytes: int,
        fingerprint: str,
        bad_rows: str = "",
    ) -> None:
        """tokens_N: ids of all documents. offsets_M: M + 1 int64; document i begins at offsets_M[i]."""
        assert offsets_M[-1] == len(tokens_N)
        self.tokens_N = tokens_N
        self.offsets_M = offsets_M
        self._mapped: list[mmap.mmap] = []
        self.num_bytes = num_bytes
        """Length of the documents in UTF-8."""
        self.fingerprint = fingerprint
        """Equal for equal texts, tokenizer and reading options."""
        self.bad_rows = bad_rows
        """What was left out while reading (`BadRows.summary`); empty if nothing."""

    @property
    def num_documents(self) -> int:
        return len(self.offsets_M) - 1

    @property
    def num_tokens(self) -> int:
        return len(self.tokens_N)

    def document(self, index: int) -> np.ndarray:
        """Return the ids of one document, 1-D uint16 or uint32, without BOS."""
        return self.tokens_N[self.offsets_M[index] : self.offsets_M[index + 1]]

    def part(self, start: int, stop: int, *, num_bytes_V: Sequence[int]) -> "TokenShards":
        """Return documents `start:stop` as shards of their own. num_bytes_V: `Tokenizer.num_bytes`."""
        begin, end = int(self.offsets_M[start]), int(self.offsets_M[stop])
        counts_V = np.zeros(len(num_bytes_V), dtype=np.int64)
        for at in range(begin, end, _TOKENS_PER_COUNT):  # counting makes a copy four times as large
            counts_V += np.bincount(
                self.tokens_N[at : min(end, at + _TOKENS_PER_COUNT)], minlength=len(counts_V)
            )
            self.release_pages()
        part = TokenShards(
            self.tokens_N[begin:end],
            self.offsets_M[start : stop + 1] - begin,
            num_bytes=int(counts_V @ np.array(num_bytes_V)),
            fingerprint=f"{self.fingerprint}[{start}:{stop}]",
            bad_rows=self.bad_rows,
        )
        part._mapped = self._mapped
        return part

    def release_pages(self) -> None:
        """Give back the memory of what was read so far, which otherwise grows to the size of the files.

        The files stay mapped, and most likely in the system's cache: reading on is as fast.
        """
        for mapped in self._mapped:
            if sys.platform != "win32":
                mapped.madvise(mmap.MADV_DONTNEED)

    @classmethod
    def open(cls, folder: str | Path) -> "TokenShards":
        """Open a shard folder that `tokenize_to_shards` wrote."""
        folder = Path(folder)
        meta = _read_meta(folder)
        tokens, offsets = _map(folder / "tokens.bin"), _map(folder / "offsets.bin")
        shards = cls(
            np.frombuffer(tokens, dtype=meta["dtype"]),
            np.frombuffer(offsets, dtype="<i8"),
            num_bytes=meta["num_bytes"],
            fingerprint=meta["fingerprint"],
            bad_rows=meta["bad_rows"],
        )
        shards._mapped = [tokens, offsets]
        return shards


def tokenize_to_shards(
    paths: Paths,
    tokenizer: Tokenizer,
    *,
    column: str = "text",
    split: str = "paragraphs",
    on_bad_row: OnBadRow = "stop",
    cache_dir: Path | None = None,
    num_workers: int | None = None,
    kernels: Kernels = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> TokenShards:
    """Tokenise the texts of files and folders, or open what an earlier call made of the same content.

    column, split, on_bad_row: as in `picochat.data.text.iter_texts`.
    cache_dir: where shards are kept; default `picochat.data.cache.default_cache_dir()`.
    num_workers: processes; default one per core, none (in this process) for a small corpus.
    kernels: "portable" and "plain" compile nothing, as a large corpus is otherwise worth.
    progress: called with (bytes of the files done, bytes of all files).

    Memory stays bounded: a few batches of a mebibyte per process are under way at any time.

    Raises:
        UserError: a file can not be read (see `iter_texts`) or there is no text in any.
    """
    files = find_files(paths)
    cache_dir = cache_dir or default_cache_dir()
    identity = {
        "format": _FORMAT,
        # The kind is part of it: the same bytes are read differently as .txt and as .jsonl.
        "files": [[remembered_sha256(file, cache_dir), file_kind(file)] for file in files],
        "tokenizer": tokenizer.fingerprint,
        "options": [column, split, on_bad_row],
    }
    fingerprint = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    folder = cache_dir / "shards" / fingerprint

    def build(temporary: Path) -> None:
        bad_rows = BadRows(on_bad_row)
        batches = iter_groups(
            files, column=column, split=split, bad_rows=bad_rows, max_chars=_BATCH_CHARS, progress=progress
        )
        total = sum(file.stat().st_size for file in files)
        tokenized = tokenize_batches(
            batches, tokenizer, num_workers=num_workers, num_bytes=total, kernels=kernels
        )
        with closing(tokenized):  # ends the workers, also when the disk is full
            meta = _write(temporary, tokenized, tokenizer.vocab_size)
        if meta["num_tokens"] == 0:
            raise UserError(f"{name_files(files)}: no text in it; give a file with at least one document")
        meta |= {"fingerprint": fingerprint, "bad_rows": bad_rows.summary()}
        meta["crc32"] = _checksum(temporary, meta)
        (temporary / "meta.json").write_text(json.dumps(meta), encoding="utf-8")

    build_once(folder, build, _is_whole)
    return TokenShards.open(folder)


def _write(folder: Path, batches: Iterator[TokenizedBatch], vocab_size: int) -> dict[str, Any]:
    dtype = "<u2" if vocab_size <= 1 << 16 else "<u4"
    num_tokens = num_documents = num_bytes = 0
    with (folder / "tokens.bin").open("wb") as tokens, (folder / "offsets.bin").open("wb") as offsets:
        offsets.write(np.zeros(1, "<i8").tobytes())
        for batch in batches:
            tokens.write(batch.ids.astype(dtype, copy=False).tobytes())
            offsets.write((num_tokens + np.cumsum(batch.lengths, dtype="<i8")).tobytes())
            num_tokens += len(batch.ids)
            num_documents += len(batch.lengths)
            num_bytes += batch.num_bytes
    return {"dtype": dtype, "num_tokens": num_tokens, "num_documents": num_documents, "num_bytes": num_bytes}


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _read_meta(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "meta.json").read_text(encoding="utf-8"))


def _is_whole(folder: Path) -> bool:
    """Whether all three files are as they were written."""
    try:
        meta = _read_meta(folder)
        return meta.pop("crc32") == _checksum(folder, meta)
    except (FileNotFoundError, ValueError, TypeError, AttributeError, KeyError):  # no JSON, or not this JSON
        return False


def _checksum(folder: Path, meta: dict[str, Any]) -> int:
    """Return the CRC-32 of tokens, offsets and what `meta.json` says of them."""
    checksum = zlib.crc32(json.dumps(meta, sort_keys=True).encode())
    for name in ("tokens.bin", "offsets.bin"):
        with (folder / name).open("rb") as file:
            while block := file.read(_CHECK_BYTES):
                checksum = zlib.crc32(block, checksum)
    return checksum
