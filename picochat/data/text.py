"""Texts of files: plain text, JSON Lines and Parquet, read in bounded memory whatever their size."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from picochat.data.bad_rows import BadRows, OnBadRow
from picochat.data.jsonl import iter_jsonl_texts
from picochat.data.parquet import iter_parquet_texts
from picochat.data.plain_text import iter_plain_texts
from picochat.errors import UserError

SUFFIXES = (".txt", ".txt.gz", ".jsonl", ".jsonl.gz", ".parquet")
"""Kinds of files that can be read."""

Paths = Sequence[str | Path] | str | Path


def file_kind(path: Path) -> str:
    """Return which of `SUFFIXES` a file name ends in, or an empty string."""
    name = path.name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


def find_files(paths: Paths) -> list[Path]:
    """Return the files in the order given; a folder gives those of `SUFFIXES` anywhere in it, sorted.

    Raises:
        UserError: a path does not exist, is of another kind, or a folder holds nothing to read.
    """
    files: list[Path] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        path = Path(path)
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if _is_readable(file, path))
            if not found:
                raise UserError(f"{path}: no file to read in this folder; looked for {', '.join(SUFFIXES)}")
            files += found
        elif not path.exists():
            raise UserError(f"{path}: no such file or folder")
        elif not file_kind(path):
            raise UserError(
                f"{path}: unknown kind of file; {', '.join(SUFFIXES)} can be read"
                " (rename it to .txt if it is plain text)"
            )
        else:
            files.append(path)
    if not files:
        raise UserError("no file given; name a file or a folder of " + ", ".join(SUFFIXES))
    return files


def iter_texts(
    paths: Paths, *, column: str = "text", split: str = "paragraphs", on_bad_row: OnBadRow | BadRows = "stop"
) -> Iterator[str]:
    """Yield the documents of files and folders, in order; none is empty.

    column: the column of Parquet files and the field of JSON Lines that holds the text.
    split: how plain text is cut into documents, see `picochat.data.plain_text.iter_plain_texts`.
    on_bad_row: stop at a row that can not be read, or skip it; a `BadRows` keeps the count.

    Raises:
        UserError: a file can not be read, or a bad row (named file:line) when those are to stop.
    """
    bad_rows = BadRows.of(on_bad_row)
    for path in find_files(paths):
        for text, _ in iter_file(path, column=column, split=split, bad_rows=bad_rows):
            yield text


def iter_file(path: Path, *, column: str, split: str, bad_rows: BadRows) -> Iterator[tuple[str, int]]:
    """Yield (document, bytes of the file read so far) for the documents of one file that are not empty."""
    kind = file_kind(path)
    if kind.startswith(".txt"):
        return iter_plain_texts(path, split=split, bad_rows=bad_rows)
    if kind == ".parquet":
        rows = iter_parquet_texts(path, column=column, bad_rows=bad_rows)
    else:
        rows = iter_jsonl_texts(path, column=column, bad_rows=bad_rows)
    return ((text, position) for text, position in rows if text and not text.isspace())


def iter_groups(
    files: Sequence[Path],
    *,
    column: str,
    split: str,
    bad_rows: BadRows,
    max_chars: int,
    max_documents: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[list[str]]:
    """Yield the documents of files in lists: one is full at `max_documents`, or once it has `max_chars`.

    progress: called with (bytes of the files done, bytes of all files) after each list.
    """
    sizes = [file.stat().st_size for file in files]
    group: list[str] = []
    num_chars = done = 0
    for file, size in zip(files, sizes, strict=True):
        for text, position in iter_file(file, column=column, split=split, bad_rows=bad_rows):
            group.append(text)
            num_chars += len(text)
            if num_chars >= max_chars or len(group) == max_documents:
                yield group
                group, num_chars = [], 0
                if progress:
                    progress(done + position, sum(sizes))
        done += size
    if group:
        yield group
    if progress:
        progress(done, sum(sizes))


def name_files(files: Sequence[Path]) -> str:
    """Return a short name of several files for a message."""
    return str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"


def _is_readable(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return bool(file_kind(file)) and not hidden and file.is_file()
