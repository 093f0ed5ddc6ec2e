"""The cache folder of picochat: where it is, remembered hashes, folders that appear whole or not at all."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from picochat.files import write_whole

_TEMPORARY = ".tmp-"


def default_cache_dir() -> Path:
    """Return $PICOCHAT_CACHE, or the folder for caches of this system."""
    if chosen := os.environ.get("PICOCHAT_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "picochat"


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256(path: Path, cache_dir: Path) -> str:
    """Return `file_sha256`, computed once for a (path, size, time of change): large files open at once."""
    path = path.resolve()
    stat = path.stat()
    identity = {"path": str(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    note = (
        cache_dir
        / "hashes"
        / f"{hashlib.sha256(str(path).encode(errors='surrogateescape')).hexdigest()}.json"
    )
    known = _read_note(note)
    if {key: known.get(key) for key in identity} == identity and isinstance(known.get("sha256"), str):
        return known["sha256"]
    sha256 = file_sha256(path)
    note.parent.mkdir(parents=True, exist_ok=True)
    write_whole(note, json.dumps({**identity, "sha256": sha256}), is_durable=True)
    return sha256


def _read_note(note: Path) -> dict[str, Any]:
    """Return what a note says; nothing if there is none or it is damaged."""
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def build_once(folder: Path, build: Callable[[Path], None], is_whole: Callable[[Path], bool]) -> None:
    """Make sure that `folder` exists and is whole; `build` writes it into a temporary folder if not.

    Of several processes that want the same folder one builds and the others wait. What a killed process
    left behind is swept by the next that builds beside it.
    """
    if is_whole(folder):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(_lock_path(folder)):
        if is_whole(folder):
            return
        _sweep(folder.parent, keep=folder.name)
        shutil.rmtree(folder, ignore_errors=True)
        with _temporary_folder(folder) as temporary:
            build(temporary)
            for path in temporary.rglob("*"):
                _fsync(path)
            _fsync(temporary)
            temporary.rename(folder)
            _fsync(folder.parent)


@contextmanager
def _temporary_folder(folder: Path) -> Iterator[Path]:
    temporary = folder.with_name(f"{_TEMPORARY}{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sweep(parent: Path, *, keep: str) -> None:
    """Remove temporary folders whose builder no longer lives, that is: whose lock is free."""
    for temporary in parent.glob(f"{_TEMPORARY}*"):
        name = temporary.name.removeprefix(_TEMPORARY)
        if name == keep:
            continue
        try:
            with FileLock(_lock_path(temporary.with_name(name)), blocking=False):
                shutil.rmtree(temporary, ignore_errors=True)
        except Timeout:
            continue


def _lock_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _fsync(path: Path) -> None:
    """Force a file or, where the system knows that, a folder to the disk."""
    if path.is_dir() and os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
