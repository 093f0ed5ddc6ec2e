"""JSON Lines: one JSON object per line, read line by line with the place of each row known."""

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from picochat.data.bad_rows import BadRows
from picochat.errors import UserError

MAX_LINE_BYTES = 256 << 20
"""A longer line is a bad row: it is nearly always a file without line ends, and must not fill the memory."""

_UTF8_BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    number: int
    """1 for the first line of the file."""
    offset: int
    """Bytes of the file (of its content, if it is compressed) before the line's first."""
    data: bytes
    """The line without its end; never blank."""
    position: int
    """Bytes read from the file so far, for a progress bar."""


def open_bytes(path: Path) -> tuple[IO[bytes], IO[bytes]]:
    """Open a file that may be gzip by its name. Returns (its content, the file itself for `tell`)."""
    raw = path.open("rb")
    if path.suffix != ".gz":
        return raw, raw
    return cast(IO[bytes], gzip.GzipFile(fileobj=raw)), raw


@contextmanager
def gzip_errors(path: Path) -> Iterator[None]:
    """Turn the errors of reading a gzip file that is not whole into one that names the file."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: not a whole gzip file ({error}); fetch or write it again") from error


def iter_lines(path: Path, bad_rows: BadRows) -> Iterator[Line]:
    """Yield the lines of a file that are not blank. A byte order mark and CR before LF are left out."""
    content, raw = open_bytes(path)
    with raw, content, gzip_errors(path):
        number = offset = 0
        while True:
            data = content.readline(MAX_LINE_BYTES)
            if not data:
                return
            number += 1
            start, offset = offset, offset + len(data)
            if len(data) == MAX_LINE_BYTES and not data.endswith(b"\n"):
                bad_rows.add(f"{path}:{number}: longer than {MAX_LINE_BYTES >> 20} MiB; is this JSON Lines?")
                while data and not data.endswith(b"\n"):
                    data = content.readline(MAX_LINE_BYTES)
                    offset += len(data)
                continue
            if number == 1 and data.startswith(_UTF8_BOM):
                data = data[len(_UTF8_BOM) :]
                start += len(_UTF8_BOM)
            data = data.rstrip(b"\r\n")
            if data.strip():
                yield Line(number, start, data, raw.tell())


def parse_object(data: bytes, *, where: str) -> dict[str, Any]:
    """Parse one line as a JSON object. Lone surrogates in it (`"\\ud800"`) become U+FFFD.

    Raises:
        UserError: it is not UTF-8, not strict JSON (with no name twice in an object) or not an object; the
            message begins with `where`.
    """
    try:
        row = json.loads(
            data.decode("utf-8"), parse_constant=_reject_constant, object_pairs_hook=_without_repeats
        )
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 (byte {error.start} of the line)") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not valid JSON: {error.msg} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:  # NaN, a name twice, thousands of digits, endless nesting
        raise UserError(f"{where}: not valid JSON: {error}") from error
    if not isinstance(row, dict):
        raise UserError(f'{where}: expected an object {{"...": ...}}, found {_json_kind(row)}')
    return _without_surrogates(row) if b"\\u" in data else row


def field_names(row: dict[str, Any]) -> str:
    """Return the names of a row's fields for an error message."""
    return ", ".join(row) if row else "none"


def iter_jsonl_texts(path: Path, *, column: str, bad_rows: BadRows) -> Iterator[tuple[str, int]]:
    """Yield (text, bytes read so far) for each row. A null is left out; another type is a bad row."""
    for line in iter_lines(path, bad_rows):
        where = f"{path}:{line.number}"
        try:
            row = parse_object(line.data, where=where)
        except UserError as error:
            bad_rows.add(str(error))
            continue
        if column not in row:
            bad_rows.add(f"{where}: no field {column!r}; it has: {field_names(row)}; choose with --column")
        elif isinstance(row[column], str):
            yield row[column], line.position
        elif row[column] is not None:
            bad_rows.add(f"{where}: {column!r} is {_json_kind(row[column])}, not a string")


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {json.dumps(repeated)} stands twice in one object")
    return row


def _json_kind(value: object) -> str:
    kinds = {str: "a string", list: "a list", dict: "an object", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        # JSON pairs are joined by the parser already; what is left has no UTF-8 form.
        return (
            value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        )
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value
