"""Parquet files as documents: any codec, any string type, a few rows at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from picochat.data.bad_rows import BadRows
from picochat.data.jsonl import MAX_LINE_BYTES
from picochat.errors import UserError

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

_ROWS_PER_BATCH = 256
_BATCH_BYTES = MAX_LINE_BYTES
"""What the rows read at once may take, unless it is a single one."""


def iter_parquet_texts(path: Path, *, column: str, bad_rows: BadRows) -> Iterator[tuple[str, int]]:
    """Yield (text, bytes read so far) for each row whose `column` is not null.

    A value over MAX_LINE_BYTES is a bad row, as it is in JSON Lines; but the page that it stands in has to be
    unpacked to see that.

    Raises:
        UserError: the file is not whole, has no such column, or the column holds no text.
    """
    import pyarrow
    import pyarrow.parquet

    size = path.stat().st_size
    if size == 0:
        return
    row = 0
    try:
        # Without pre_buffer and with a read buffer, pages are read as they are needed: a file that is one
        # row group of gigabytes is streamed too.
        with pyarrow.parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
            _check_column(file.schema_arrow, column, path)
            num_rows = max(1, file.metadata.num_rows)
            for batch in _batches(file, column):
                position = size * (row + batch.num_rows) // num_rows
                yield from ((text, position) for text in _texts(batch.column(0), path, row, bad_rows))
                row += batch.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's own: no such file, no permission
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a whole Parquet file ({reason}); fetch or write it again") from error


def _check_column(schema: "pyarrow.Schema", column: str, path: Path) -> None:
    import pyarrow.types as types

    if column not in schema.names:
        raise UserError(
            f"{path}: no column {column!r}; it has: {', '.join(schema.names)}; choose with --column"
        )
    kind = schema.field(column).type
    value = kind.value_type if types.is_dictionary(kind) else kind
    if not (types.is_string(value) or types.is_large_string(value) or types.is_string_view(value)):
        raise UserError(f"{path}: column {column!r} holds {kind}, not text; choose another with --column")


def _batches(file: "pyarrow.parquet.ParquetFile", column: str) -> "Iterator[pyarrow.RecordBatch]":
    leaf = [file.schema.column(index).path for index in range(len(file.schema))].index(column)
    for group in range(file.num_row_groups):
        # No value is longer than its column in this group: not those either that a dictionary repeats.
        longest = file.metadata.row_group(group).column(leaf).total_uncompressed_size
        num_rows = min(max(1, _BATCH_BYTES // max(1, longest)), _ROWS_PER_BATCH)
        yield from file.iter_batches(num_rows, row_groups=[group], columns=[column], use_threads=False)


def _texts(values: "pyarrow.Array", path: Path, first_row: int, bad_rows: BadRows) -> Iterator[str]:
    import pyarrow

    if isinstance(values, pyarrow.DictionaryArray):
        values = values.dictionary_decode()
    for row, value in enumerate(values, start=first_row + 1):
        data = value.as_buffer()
        if data is None:
            continue
        if data.size > MAX_LINE_BYTES:
            bad_rows.add(f"{path}: row {row}: longer than {MAX_LINE_BYTES >> 20} MiB; is this one document?")
            continue
        try:
            text = str(data, "utf-8")
        except UnicodeDecodeError:
            bad_rows.add(f"{path}: row {row}: not UTF-8")
        else:
            yield text
