"""Fetching a known public data set from huggingface.co: pinned, checked, resumable, whole or not there."""

import fnmatch
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from picochat.data.cache import file_sha256
from picochat.data.hub_sets import HubFiles, Row, hub_set
from picochat.errors import UserError
from picochat.files import write_whole

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

SOURCE = "SOURCE.json"
_DOWNLOADS = ".download"
_ROWS_PER_BATCH = 1024


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What a data set folder holds, as recorded in its SOURCE.json."""

    commit: str
    files: dict[str, int]
    """Bytes of each file, by its path in the folder."""


def fetch(
    name: str,
    out: str | Path,
    *,
    max_files: int | None = None,
    revision: str | None = None,
    endpoint: str | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Fetched:
    """Fetch the data set `name` of `picochat.data.hub_sets` into the folder `out`.

    max_files: of each part that has many; default by set. 0 is all of them.
    revision: another commit, branch or tag than the pinned one; what it names now is recorded.
    endpoint: another server than huggingface.co (or $HF_ENDPOINT).
    report: called with a line of text for each file.

    Each file is compared with the checksum in the repository and appears under its name when it is whole. A
    broken transfer is taken up where it broke; after an interruption, files that were complete are kept. What
    was fetched stands in SOURCE.json, which is written last.

    Raises:
        UserError: no such data set, the server can not be reached or lacks a file, or a checksum differs.
    """
    known = hub_set(name)
    out = Path(out)
    limit = known.max_files if max_files is None else max_files or None
    request = {"name": name, "repo": known.repo, "revision": revision or known.revision, "max_files": limit}
    if recorded := _recorded(out, request):
        report(f"{out}: {name} is there already")
        return recorded
    downloads = out / _DOWNLOADS
    downloads.mkdir(parents=True, exist_ok=True)
    with _network_errors(known.repo):
        hub = _Hub(known.repo, request["revision"], downloads, endpoint)
        parts = [(part, hub.list_files(part, limit)) for part in known.parts]
        count = sum(len(files) for _, files in parts)
        sources: list[dict[str, Any]] = []
        written: list[Path] = []
        for part, files in parts:
            raw: list[Path] = []
            for file in files:
                report(f"{len(sources) + 1}/{count} {file.path} ({file.size / 1e6:.1f} MB)")
                kept = downloads / file.path if known.convert else out / part.to / Path(file.path).name
                sources.append({"path": file.path, "bytes": file.size, "sha256": hub.download(file, kept)})
                raw.append(kept)
            if known.convert:
                report(f"writing {part.to}")
                _write_jsonl(out / part.to, raw, known.convert)
            written += [out / part.to] if known.convert else raw
    files = [_describe(path, out) for path in written]
    source = {**request, "commit": hub.commit, "licence": known.licence, "sources": sources, "files": files}
    write_whole(out / SOURCE, json.dumps(source, indent=2) + "\n", is_durable=True)
    shutil.rmtree(downloads)
    return Fetched(commit=hub.commit, files={file["path"]: file["bytes"] for file in files})


class _Hub:
    """One commit of a repository of data on the hub."""

    def __init__(self, repo: str, revision: str, downloads: Path, endpoint: str | None) -> None:
        from huggingface_hub import HfApi

        self.repo = repo
        self.downloads = downloads
        self.endpoint = endpoint
        self.api = HfApi(endpoint=endpoint)
        commit = self.api.dataset_info(repo, revision=revision).sha
        assert commit is not None
        self.commit = commit

    def list_files(self, part: HubFiles, limit: int | None) -> "list[RepoFile]":
        """Return the files of a part, sorted by name."""
        from huggingface_hub.hf_api import RepoFile

        tree = self.api.list_repo_tree(
            self.repo, path_in_repo=part.folder or None, revision=self.commit, repo_type="dataset"
        )
        files = [entry for entry in tree if isinstance(entry, RepoFile)]
        names = {file.path: file.path.rpartition("/")[2] for file in files}
        chosen = sorted(
            (file for file in files if fnmatch.fnmatchcase(names[file.path], part.pattern)),
            key=lambda file: file.path,
        )
        chosen = [file for file in chosen if not fnmatch.fnmatchcase(names[file.path], part.exclude)]
        if not chosen:
            raise UserError(f"{self.repo} at {self.commit}: no file {part.folder}/{part.pattern}")
        return chosen[:limit] if part.limited else chosen

    def download(self, file: "RepoFile", to: Path) -> str:
        """Fetch a file unless it is there, compare its checksum with the repository's and return it."""
        from huggingface_hub import hf_hub_download

        if not to.exists() or not _matches(to, file):
            fetched = Path(
                hf_hub_download(
                    self.repo,
                    file.path,
                    repo_type="dataset",
                    revision=self.commit,
                    local_dir=self.downloads,
                    endpoint=self.endpoint,
                )
            )
            if not _matches(fetched, file):
                fetched.unlink()
                raise UserError(
                    f"{self.repo}: {file.path} came with another checksum than the repository has;"
                    " run the same command again to fetch it anew"
                )
            to.parent.mkdir(parents=True, exist_ok=True)
            fetched.replace(to)
        return file_sha256(to)


def _matches(path: Path, file: "RepoFile") -> bool:
    """Whether a file has the size and checksum of the repository: SHA-256 if large, else the git blob's."""
    if path.stat().st_size != file.size:
        return False
    if file.lfs is not None:
        return file_sha256(path) == file.lfs.sha256
    blob = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    blob.update(path.read_bytes())
    return blob.hexdigest() == file.blob_id


def _write_jsonl(out: Path, parquet_files: list[Path], convert: Callable[[Row], Row]) -> None:
    import pyarrow.parquet

    temporary = out.with_name(f".tmp-{out.name}")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as sink:
            for path in parquet_files:
                with pyarrow.parquet.ParquetFile(path) as file:
                    for batch in file.iter_batches(_ROWS_PER_BATCH):
                        rows = map(convert, batch.to_pylist())
                        sink.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)


def _describe(path: Path, folder: Path) -> dict[str, Any]:
    relative = path.relative_to(folder).as_posix()
    return {"path": relative, "bytes": path.stat().st_size, "sha256": file_sha256(path)}


def _recorded(out: Path, request: dict[str, Any]) -> Fetched | None:
    """Return what SOURCE.json says if it answers the same request and its files are as it says."""
    if not (out / SOURCE).exists():
        return None
    source = json.loads((out / SOURCE).read_text(encoding="utf-8"))
    if {key: source.get(key) for key in request} != request:
        return None
    for file in source["files"]:
        path = out / file["path"]
        if not path.exists() or path.stat().st_size != file["bytes"] or file_sha256(path) != file["sha256"]:
            return None
    return Fetched(commit=source["commit"], files={file["path"]: file["bytes"] for file in source["files"]})


@contextmanager
def _network_errors(repo: str) -> Iterator[None]:
    """Turn what the hub's client raises when it can not fetch something into one line."""
    # HTTPError is that of httpx or httpx2, whichever this version of the hub's client uses.
    from huggingface_hub.errors import EntryNotFoundError, HTTPError  # pyright: ignore[reportPrivateImportUsage]

    try:
        yield
    except (HTTPError, EntryNotFoundError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's: full, not writable
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{repo}: can not be fetched ({reason}); run the same command again to go on"
        ) from error
