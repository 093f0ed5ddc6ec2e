"""Rows of task files: JSON Lines or Parquet, each with its place for error messages."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from picochat.data.bad_rows import BadRows
from picochat.data.jsonl import iter_lines, parse_object
from picochat.errors import UserError


def iter_rows(path: Path, bad_rows: BadRows) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield (row, "file:line") of a .jsonl, .jsonl.gz or .parquet file; bad lines go to `bad_rows`.

    Raises:
        UserError: no such file, a folder, or another kind of file.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name one file of it, so that train and test are not mixed")
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.suffix == ".parquet":
        yield from _iter_parquet(path)
    elif path.name.endswith((".jsonl", ".jsonl.gz", ".json")):
        for line in iter_lines(path, bad_rows):
            where = f"{path}:{line.number}"
            try:
                row = parse_object(line.data, where=where)
            except UserError as error:
                bad_rows.add(str(error))
            else:
                yield row, where
    else:
        raise UserError(f"{path}: unknown kind of file; give .jsonl, .jsonl.gz or .parquet")


def _iter_parquet(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            rows = file.read().to_pylist()
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: can not be read as Parquet ({reason}); fetch or write it again") from error
    for number, row in enumerate(rows, start=1):
        yield row, f"{path}:{number}"
