"""Keeps what libraries and child processes write to standard error from the middle of the screen."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def guarded_stderr() -> Iterator[Path]:
    """Point file descriptor 2 at a file, whose path is returned, and leave the terminal to the app.

    The app draws on `sys.__stderr__`, which goes on to the terminal by a descriptor of its own. What the file
    holds at the end is written to the terminal then: nothing is lost.
    """
    terminal = os.dup(2)
    before = sys.__stderr__
    with tempfile.NamedTemporaryFile(prefix="picochat-", suffix=".log", delete=False) as log:
        path = Path(log.name)
        os.dup2(log.fileno(), 2)
    drawn = os.fdopen(os.dup(terminal), "w", encoding="utf-8", errors="replace", closefd=True)
    sys.__stderr__ = drawn  # type: ignore[misc]
    try:
        yield path
    finally:
        sys.__stderr__ = before  # type: ignore[misc]
        drawn.close()
        os.dup2(terminal, 2)
        os.close(terminal)
        if said := path.read_bytes():
            os.write(2, said)
        path.unlink(missing_ok=True)
