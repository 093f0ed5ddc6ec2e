"""Small files that a reader sees whole: the old text or the new one, never a part."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Name `path` in an `OSError` that names none: what works on an open file does not say which it was."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write_whole(path: Path, text: str, *, is_durable: bool = False) -> None:
    """Replace `path` by `text`; if that fails, what was there stays.

    is_durable: the text is on the disk before it has the name, so that it survives a failure of the power.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with naming(path):
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                if is_durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
