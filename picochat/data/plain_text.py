"""Plain text files: cut into documents at blank lines or at a separator, in bounded memory."""

import re
from collections.abc import Iterator
from pathlib import Path

from picochat.data.bad_rows import BadRows
from picochat.data.jsonl import gzip_errors, open_bytes

MAX_DOCUMENT_CHARS = 1 << 20
"""A longer document is cut in several, at a line end if there is one."""

_BLOCK_BYTES = 1 << 18
_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")
_UTF8_BOM = b"\xef\xbb\xbf"


def iter_plain_texts(path: Path, *, split: str, bad_rows: BadRows) -> Iterator[tuple[str, int]]:
    """Yield (document, bytes read so far) for each document of a UTF-8 text file.

    split: `"paragraphs"`: documents stand between blank lines. `"file"`: the whole file is one document.
        Anything else is itself the separator, e.g. `"<|endoftext|>"`.

    CRLF becomes LF, a byte order mark and white space around a document are left out, so are empty documents.
    A document of more than `MAX_DOCUMENT_CHARS` characters is cut at line ends, so that a file without
    separators needs no more memory than others. A line that is not UTF-8 is a bad row.
    """
    # One separator may lie across the end of a block: what follows the last one found is carried over,
    # and a cut stays a separator's length away from the end.
    margin = 0 if split in ("paragraphs", "file") else len(split)
    rest = ""
    position = 0
    for block, position in _iter_blocks(path, bad_rows):
        *documents, rest = _split(rest + block, split)
        for document in documents:
            yield from ((piece, position) for piece in _cut(document))
        while len(rest) > MAX_DOCUMENT_CHARS + margin:
            piece, rest = _cut_once(rest)
            if piece.strip():
                yield piece.strip(), position
    yield from ((piece, position) for piece in _cut(rest))


def _split(text: str, split: str) -> list[str]:
    if split == "paragraphs":
        return _BLANK_LINES.split(text)
    return [text] if split == "file" else text.split(split)


def _cut(document: str) -> Iterator[str]:
    while len(document) > MAX_DOCUMENT_CHARS:
        piece, document = _cut_once(document)
        if piece.strip():
            yield piece.strip()
    if document.strip():
        yield document.strip()


def _cut_once(text: str) -> tuple[str, str]:
    """Cut after the last line end of the first MAX_DOCUMENT_CHARS, or there if they are one line."""
    at = text.rfind("\n", 0, MAX_DOCUMENT_CHARS) + 1 or MAX_DOCUMENT_CHARS
    return text[:at], text[at:]


def _iter_blocks(path: Path, bad_rows: BadRows) -> Iterator[tuple[str, int]]:
    """Yield (text of whole lines, bytes read so far); a line too long for a block comes in parts."""
    content, raw = open_bytes(path)
    with raw, content, gzip_errors(path):
        pending = b""
        line_number = 1  # of the first byte of `pending`
        first = True
        while True:
            data = content.read(_BLOCK_BYTES)
            if first:
                data = data.removeprefix(_UTF8_BOM)
                first = False
            pending += data
            at = _block_end(pending) if data else len(pending)
            block, pending = pending[:at], pending[at:]
            if block:
                text = _decode(block, path, line_number, bad_rows)
                yield text.replace("\r\n", "\n"), raw.tell()
                line_number += block.count(b"\n")
            if not data:
                return


def _block_end(data: bytes) -> int:
    """Return where to cut: after the last line end, else before an unfinished character or CR LF."""
    at = data.rfind(b"\n") + 1
    if at:
        return at
    at = len(data)
    while at > max(0, len(data) - 4):
        at -= 1
        if data[at] & 0xC0 != 0x80:  # the first byte of the last character
            return at
    return len(data)  # four continuation bytes are no character: decoding will say so


def _decode(block: bytes, path: Path, line_number: int, bad_rows: BadRows) -> str:
    try:
        return block.decode("utf-8")
    except UnicodeDecodeError:
        pass
    kept: list[str] = []
    for number, line in enumerate(block.split(b"\n"), start=line_number):
        try:
            kept.append(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            byte = f"byte 0x{line[error.start]:02x} at byte {error.start} of the line"
            bad_rows.add(f"{path}:{number}: not UTF-8 ({byte})")
    return "\n".join(kept)
