"""JSON-lines files that grow while they are read."""

import json
import math
import os
import time
from pathlib import Path
from typing import Any, BinaryIO

CHUNK = 1 << 16
"""Bytes that are read together: a few milliseconds of work."""
LONGEST_LINE = 1 << 26
"""A line beyond this is passed over: no run writes such."""


class Tail:
    """The rows of a file as they come: every call of `read` goes on where the last one ended.

    An unfinished last line waits until it is whole. A file that became shorter, or that was replaced, is read
    as one that was never seen; `began_anew` tells that.
    """

    def __init__(self, path: Path, *, newest: int | None = None) -> None:
        """Begin at the start of the file, or `newest` bytes before its end if it is longer."""
        self.path = path
        self.damaged = 0
        """Lines so far that hold no JSON object."""
        self.size = 0
        """Bytes of the file when it was last looked at."""
        self.offset = 0
        """Where the first line begins that was not read yet."""
        self.is_behind = False
        """Whether the last `read` ran out of time before the end of the file."""
        self._newest = newest
        self._inode: int | None = None
        self._is_anew = False

    def read(self, seconds: float = math.inf) -> list[dict[str, Any]]:
        """Return the rows that are new, at most as many as can be read in about `seconds`."""
        ends = time.monotonic() + seconds
        rows: list[dict[str, Any]] = []
        self.is_behind = False
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            self.size = 0
            return rows
        with file:
            self._look_at(file)
            while lines := self._lines(file):
                rows += self._parse(lines)
                if time.monotonic() > ends:
                    self.is_behind = self.offset < self.size
                    break
        return rows

    def began_anew(self) -> bool:
        """Whether the file was cut or replaced since this was last asked: what it told before is void."""
        is_anew, self._is_anew = self._is_anew, False
        return is_anew

    def _look_at(self, file: BinaryIO) -> None:
        facts = os.fstat(file.fileno())
        self.size = facts.st_size
        if self._inode == facts.st_ino and self.size >= self.offset:
            return
        self._is_anew = self._is_anew or self._inode is not None
        self._inode, self.offset, self.damaged = facts.st_ino, 0, 0
        if self._newest is not None and self.size > self._newest:
            file.seek(self.size - self._newest)
            self.offset = file.tell() + len(file.readline())

    def _lines(self, file: BinaryIO) -> list[bytes]:
        """Return the next whole lines, about a chunk of them."""
        size = CHUNK
        while True:
            file.seek(self.offset)
            text = file.read(size)
            end = text.rfind(b"\n") + 1
            if end:
                self.offset += end
                return text[:end].splitlines()
            if len(text) < size:
                return []
            if size >= LONGEST_LINE:
                self.offset += size
                self.damaged += 1
                size = CHUNK
            else:
                size *= 4

    def _parse(self, lines: list[bytes]) -> list[dict[str, Any]]:
        rows = []
        for line in lines:
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                rows.append(row)
            else:
                self.damaged += 1
        return rows
