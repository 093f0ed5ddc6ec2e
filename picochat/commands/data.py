"""`picochat data`: writing the built-in world, preparing text, fetching public data sets."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from picochat.data.hub_sets import HUB_SETS

_NAMES = "Which one:\n" + "\n".join(f"{name}: {known.summary}." for name, known in HUB_SETS.items())


@dataclass(frozen=True, kw_only=True)
class PrepareText:
    """Turn txt, jsonl or parquet into one Parquet file with a `text` column."""

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IN")]
    """Files, or folders that are searched for .txt, .jsonl and .parquet (also .txt.gz, .jsonl.gz)."""
    out: Path
    """The Parquet file to write; its folder is created."""
    split: str = "paragraphs"
    """How a .txt file is cut into documents: at blank lines (`paragraphs`), not at all (`file`), or at this
    separator, e.g. `<|endoftext|>`."""
    column: str = "text"
    """Column of Parquet, or field of JSON Lines, that holds the text."""
    on_bad_row: Literal["stop", "skip"] = "stop"
    """What to do with a row that can not be read: stop there, or leave it out and count it."""

    def execute(self) -> None:
        from picochat.data.prepare import prepare
        from picochat.progress import progress

        with progress(None, "preparing", "B") as update:
            result = prepare(
                self.paths,
                self.out,
                column=self.column,
                split=self.split,
                on_bad_row=self.on_bad_row,
                progress=update,
            )
        if result.bad_rows:
            print(f"warning: {result.bad_rows}", file=sys.stderr)
        size = self.out.stat().st_size
        print(
            f"wrote {self.out}: {result.num_documents:,} documents, {result.num_bytes / 1e6:,.1f} MB of text"
            f" in {size / 1e6:,.1f} MB"
        )


@dataclass(frozen=True, kw_only=True)
class GetDataset:
    """Fetch a known public data set from huggingface.co, checked and resumable."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME", help=_NAMES)]
    out: Path | None = None
    """Folder to put it in; default: data/NAME."""
    max_files: int | None = None
    """Files to fetch of a set that has many; 0 is all. Default by set."""
    revision: str | None = None
    """Another commit, branch or tag of its repository than the one picochat pins."""

    def execute(self) -> None:
        from huggingface_hub.utils import disable_progress_bars

        from picochat.data.download import fetch

        if not sys.stderr.isatty():
            disable_progress_bars()
        out = self.out or Path("data") / self.name
        fetched = fetch(
            self.name,
            out,
            max_files=self.max_files,
            revision=self.revision,
            report=lambda line: print(line, file=sys.stderr),
        )
        for path, size in fetched.files.items():
            print(f"{out / path}  {size / 1e6:,.1f} MB")


@dataclass(frozen=True, kw_only=True)
class BuiltinWorld:
    """Write the built-in world: a small English world to train and test on, made by a seeded generator."""

    out: Path = Path("world")
    """Folder to write it to."""
    seed: int = 0
    """Another seed is another world."""

    def execute(self) -> None:
        from picochat.data.builtin.write import write_world

        write_world(self.out, seed=self.seed)
        for path in sorted(path for path in self.out.rglob("*") if path.is_file()):
            print(f"{path}  {path.stat().st_size / 1e6:,.2f} MB")
