"""Tokenising batches of documents on all cores, in order, by worker processes.

The workers are plain child processes that read texts on stdin and write ids on stdout, as length-prefixed
frames. Unlike `multiprocessing` that needs no `if __name__ == "__main__"` in the caller's script, works the
same from a notebook, a thread and every operating system, and nothing is pickled.

A frame is an int64 array [M, bytes of document 1, ..., of document M] and the documents in UTF-8; the answer
is [M, N, tokens of document 1, ..., of document M] and N ids as uint32. M: documents, N: tokens.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import IO, NamedTuple

import numpy as np

from picochat.kernels.choice import Kernels
from picochat.tokenizer.tokenizer import Tokenizer

_SMALL_BYTES = 4 << 20
"""Below this, starting workers costs more time than they save."""
_LARGE_BYTES = 24 << 20
"""From this on it pays to let every worker compile its loops, or look for them on disk."""


class TokenizedBatch(NamedTuple):
    ids: np.ndarray
    """Ids of all documents, one after another, uint32."""
    lengths: np.ndarray
    """Tokens of each document, int64."""
    num_bytes: int
    """Length of the documents in UTF-8."""


def tokenize_batches(
    batches: Iterable[list[str]],
    tokenizer: Tokenizer,
    *,
    num_workers: int | None,
    num_bytes: int,
    kernels: Kernels = "auto",
) -> Generator[TokenizedBatch]:
    """Yield the tokens of each batch, in order. At most two batches per worker are under way.

    num_workers: processes; None: one per core, or none for a corpus of few `num_bytes`. 0: in this process.
    kernels: with "auto" and "compile" the workers use compiled loops for a large corpus.
    """
    if num_workers is None:
        num_workers = available_cores() if num_bytes >= _SMALL_BYTES else 0
    if num_workers == 0:
        yield from (_tokenize(tokenizer, batch) for batch in batches)
        return
    with tempfile.TemporaryDirectory(prefix="picochat-") as folder:
        tokenizer.save(Path(folder) / "tokenizer.json")
        mode = "compiled" if kernels in ("auto", "compile") and num_bytes >= _LARGE_BYTES else "portable"
        workers = [_Worker(Path(folder) / "tokenizer.json", mode) for _ in range(num_workers)]
        idle: SimpleQueue[_Worker] = SimpleQueue()
        for worker in workers:
            idle.put(worker)

        def ask(batch: list[str]) -> TokenizedBatch:
            worker = idle.get()
            try:
                return worker.tokenize(batch)
            finally:
                idle.put(worker)

        # One thread per worker only waits for its answers; the window bounds what is in memory.
        pool = ThreadPoolExecutor(num_workers)
        window: deque[Future[TokenizedBatch]] = deque()
        try:
            for batch in batches:
                if len(window) >= 2 * num_workers:
                    yield window.popleft().result()
                window.append(pool.submit(ask, batch))
            while window:
                yield window.popleft().result()
        finally:
            for future in window:
                future.cancel()
            for worker in workers:
                worker.kill()
            pool.shutdown()  # no thread reads or writes a pipe any more
            for worker in workers:
                worker.close()


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Worker:
    """One child process; `tokenize` may be called by one thread at a time."""

    def __init__(self, tokenizer_path: Path, mode: str) -> None:
        # Each worker is one core: no threads of the tokenizer's or of numpy's own.
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "picochat.data.token_workers", str(tokenizer_path), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._to, self._from = self._process.stdin, self._process.stdout

    def tokenize(self, texts: list[str]) -> TokenizedBatch:
        documents = [text.encode("utf-8") for text in texts]
        try:
            _write_array(self._to, [len(documents), *map(len, documents)])
            self._to.write(b"".join(documents))
            self._to.flush()
            num_documents, num_tokens = _read_array(self._from, 2)
            lengths = _read_array(self._from, num_documents)
            ids = np.frombuffer(_read(self._from, 4 * num_tokens), dtype="<u4")
        except (EOFError, BrokenPipeError) as error:
            code = self._process.wait()
            raise RuntimeError(f"a tokenising process ended with exit code {code}") from error
        return TokenizedBatch(ids, lengths, sum(map(len, documents)))

    def kill(self) -> None:
        """End the process; a batch under way is lost."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Close the pipes to the process."""
        self._from.close()
        with contextlib.suppress(BrokenPipeError):  # what was still to be written has no reader any more
            self._to.close()


def _tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> TokenizedBatch:
    packed = [tokenizer.encode_packed(text) for text in texts]
    lengths = np.array([len(ids) // 4 for ids in packed], dtype=np.int64)
    ids = np.frombuffer(b"".join(packed), dtype=np.uint32)
    return TokenizedBatch(ids, lengths, sum(len(text.encode("utf-8")) for text in texts))


def _serve(tokenizer_path: str, mode: str) -> None:
    """Answer frames until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it ends this process
    tokenizer = Tokenizer.load(tokenizer_path)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            (num_documents,) = _read_array(source, 1)
        except EOFError:
            return
        sizes = _read_array(source, num_documents)
        data = _read(source, int(sizes.sum()))
        ends = np.cumsum(sizes).tolist()
        documents = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        if mode == "compiled":
            ids, lengths = tokenizer.encode_documents(documents)
        else:
            ids, lengths, _ = _tokenize(tokenizer, [document.decode("utf-8") for document in documents])
        _write_array(sink, [len(lengths), len(ids), *lengths])
        sink.write(ids.astype("<u4", copy=False).tobytes())
        sink.flush()


def _write_array(file: IO[bytes], values: Sequence[int]) -> None:
    file.write(np.array(values, dtype="<i8").tobytes())


def _read_array(file: IO[bytes], count: int) -> np.ndarray:
    return np.frombuffer(_read(file, 8 * int(count)), dtype="<i8")


def _read(file: IO[bytes], size: int) -> bytes:
    data = file.read(int(size))
    if len(data) < size:
        raise EOFError
    return data


if __name__ == "__main__":
    _serve(*sys.argv[1:])
