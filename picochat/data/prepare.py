"""Any readable text to one Parquet file with a `text` column."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from picochat.data.bad_rows import BadRows, OnBadRow
from picochat.data.text import Paths, find_files, iter_groups, name_files
from picochat.errors import UserError

_ROWS_PER_GROUP = 1024
_CHARS_PER_GROUP = 16 << 20  # of very long documents fewer go into a group: it is held in memory


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What `prepare` wrote."""

    num_documents: int
    num_bytes: int
    """Length of the documents in UTF-8."""
    bad_rows: str
    """What was left out (`BadRows.summary`); empty if nothing."""


def prepare(
    paths: Paths,
    out: str | Path,
    *,
    column: str = "text",
    split: str = "paragraphs",
    on_bad_row: OnBadRow = "stop",
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Write the documents of files and folders to the Parquet file `out`, in bounded memory.

    column, split, on_bad_row: as in `picochat.data.text.iter_texts`.
    progress: called with (bytes of the files done, bytes of all files).

    `out` appears when it is complete; until then its bytes are in a hidden file beside it.

    Raises:
        UserError: a file can not be read, there is no text, or `out` is an input or not named .parquet.
    """
    import pyarrow
    import pyarrow.parquet

    out = Path(out)
    if out.suffix != ".parquet":
        raise UserError(f"{out}: the output is a Parquet file; name it {out.with_suffix('.parquet').name}")
    files = find_files(paths)
    if out.exists() and any(file.samefile(out) for file in files):
        raise UserError(f"{out}: is an input as well; choose another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    schema = pyarrow.schema([pyarrow.field("text", pyarrow.string(), nullable=False)])
    bad_rows = BadRows(on_bad_row)
    temporary = out.with_name(f".tmp-{secrets.token_hex(4)}-{out.name}")
    groups = iter_groups(
        files,
        column=column,
        split=split,
        bad_rows=bad_rows,
        max_documents=_ROWS_PER_GROUP,
        max_chars=_CHARS_PER_GROUP,
        progress=progress,
    )
    num_documents = num_bytes = 0
    try:
        with pyarrow.parquet.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for texts in groups:
                writer.write_table(pyarrow.table({"text": texts}, schema=schema))
                num_documents += len(texts)
                num_bytes += sum(len(text.encode()) for text in texts)
        if num_documents == 0:
            raise UserError(f"{name_files(files)}: no text in it; give a file with at least one document")
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    return Prepared(num_documents=num_documents, num_bytes=num_bytes, bad_rows=bad_rows.summary())
