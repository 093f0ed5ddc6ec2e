"""Parquet files as documents: any codec, any string type, batch by batch."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from picochat.data.bad_rows import BadRows
from picochat.errors import UserError

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

_ROWS_PER_BATCH = 256


def iter_parquet_texts(path: Path, *, column: str, bad_rows: BadRows) -> Iterator[tuple[str, int]]:
    """Yield (text, bytes read so far) for each row whose `column` is not null.

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
            for batch in file.iter_batches(_ROWS_PER_BATCH, columns=[column], use_threads=False):
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


def _texts(values: "pyarrow.Array", path: Path, first_row: int, bad_rows: BadRows) -> Iterator[str]:
    try:
        yield from (text for text in values.to_pylist() if text is not None)
        return
    except UnicodeDecodeError:
        pass
    for index, value in enumerate(values):
        try:
            text = value.as_py()
        except UnicodeDecodeError:
            bad_rows.add(f"{path}: row {first_row + index + 1}: not UTF-8")
            continue
        if text is not None:
            yield text
