"""`picochat tokenizer train | encode | show`."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from picochat.errors import UserError

if TYPE_CHECKING:
    from picochat.data.bad_rows import BadRows
    from picochat.tokenizer.tokenizer import Tokenizer
    from picochat.tokenizer.train import Lesson, Progress


@dataclass(frozen=True, kw_only=True)
class TrainTokenizer:
    """Learn a vocabulary from text."""

    out: Path
    """Folder for tokenizer.json; it is made if it is missing."""
    data: tuple[str, ...] = ()
    """Files and folders to learn from (txt, jsonl, parquet). Without: the built-in world."""
    vocab_size: int = 2048
    """Number of ids: 256 bytes, the merges, 16 specials. The built-in world is used up near 2270."""
    column: str = "text"
    """Column (parquet) or field (jsonl) that holds the text."""
    split: str = "paragraphs"
    """How plain text is cut into documents: paragraphs, or a separator."""
    on_bad_row: Literal["stop", "skip"] = "stop"
    """What to do with a row that can not be read; skipped rows are counted."""

    def execute(self) -> "Lesson":
        """Train, save, and say what came out; returns it too."""
        _check_place(self.out)  # before the work, which would be lost
        start = time.perf_counter()
        with _progress() as progress:
            lesson, bad_rows = self.learn(progress=progress)
        self.save(lesson, seconds=time.perf_counter() - start)
        if bad_rows.summary():
            print(bad_rows.summary())
        return lesson

    def learn(self, *, progress: "Progress | None" = None) -> "tuple[Lesson, BadRows]":
        """Return what the texts teach, and the rows that could not be read."""
        from picochat.data.bad_rows import BadRows
        from picochat.data.text import find_files, iter_texts
        from picochat.tokenizer.train import learn
        from picochat.tokenizer.vocabulary import check_vocab_size

        check_vocab_size(self.vocab_size)
        files = find_files(self.data or [_builtin_texts()])
        bad_rows = BadRows(self.on_bad_row)
        texts = iter_texts(files, column=self.column, split=self.split, on_bad_row=bad_rows)
        lesson = learn(texts, self.vocab_size, progress=progress)
        if lesson.documents == 0:
            names = ", ".join(self.data)
            raise UserError(f"{names}: no text to learn from; give files that hold text (--data, --column)")
        return lesson, bad_rows

    def save(self, lesson: "Lesson", *, seconds: float) -> None:
        """Write the tokenizer and say what it is."""
        tokenizer = lesson.tokenizer(self.vocab_size)
        self.out.mkdir(parents=True, exist_ok=True)
        tokenizer.save(self.out)
        print(
            f"{self.out / 'tokenizer.json'}: {tokenizer.vocab_size:,} ids, {len(tokenizer.merges):,} merges, "
            f"from {lesson.characters:,} characters in {lesson.documents:,} documents, {seconds:.1f} s"
        )
        if unused := _num_unused(tokenizer):
            print(f"no pair occurred twice any more: {unused:,} ids are unused; use more text or fewer ids")


@dataclass(frozen=True, kw_only=True)
class EncodeText:
    """Show the tokens of a text: coloured on a terminal, else a line `id<TAB>token` each."""

    tokenizer: str
    """A tokenizer.json, a folder with one, a run or a checkpoint."""
    text: str | None = None
    """The text."""
    file: Path | None = None
    """A UTF-8 file with the text, instead of --text."""

    def execute(self) -> None:
        """Print the tokens."""
        from rich.console import Console

        if (self.text is None) == (self.file is None):
            raise UserError('give the text either by --text "..." or by --file PATH')
        tokenizer = find_tokenizer(self.tokenizer)
        text = _read_text(self.file) if self.file is not None else self.text or ""
        console = Console(highlight=False)
        ids = tokenizer.encode(text)
        if console.is_terminal:
            from picochat.commands.tokenizer_view import coloured_tokens, summary

            console.print(coloured_tokens(tokenizer, ids))
            console.print(summary(tokenizer, ids), style="dim")
        else:
            print_tokens(tokenizer, ids)


@dataclass(frozen=True, kw_only=True)
class ShowTokenizer:
    """Show what a vocabulary holds, and how few tokens it makes of a text."""

    tokenizer: str
    """A tokenizer.json, a folder with one, a run or a checkpoint."""
    text_file: Path | None = None
    """A UTF-8 file to compress. Without: a small built-in text."""

    def execute(self) -> None:
        """Print the tables."""
        from rich.console import Console

        from picochat.commands.tokenizer_view import SAMPLE_TEXT, tokenizer_tables

        tokenizer = find_tokenizer(self.tokenizer)
        name, text = "built-in text", SAMPLE_TEXT
        if self.text_file is not None:
            name, text = str(self.text_file), _read_text(self.text_file)
        console = Console(highlight=False)
        for table in tokenizer_tables(tokenizer, name, text):
            console.print(table)


def find_tokenizer(spec: str) -> "Tokenizer":
    """The tokenizer that a file, a folder, a run (`NAME`, `NAME@500`, `NAME@best`) or a checkpoint holds."""
    from picochat.tokenizer.tokenizer import Tokenizer

    path = Path(spec)
    if path.is_file() or (path / "tokenizer.json").is_file() or path.suffix == ".json":
        return Tokenizer.load(path)
    from picochat.train.run_dir import resolve_checkpoint

    return Tokenizer.load(resolve_checkpoint(spec))


def print_tokens(tokenizer: "Tokenizer", ids: Iterable[int]) -> None:
    """A line for each token: its id, a tab, a JSON string (bytes of a split character as \\xNN)."""
    import json

    for id in ids:
        token = tokenizer.token_bytes(id).decode(errors="backslashreplace")
        print(f"{id}\t{json.dumps(token)}")


def _builtin_texts() -> Path:
    from picochat.data.builtin.write import default_world_dir

    return default_world_dir() / "pretrain" / "train.parquet"


def _read_text(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 text (byte {error.start}); convert it to UTF-8") from error


def _num_unused(tokenizer: "Tokenizer") -> int:
    return tokenizer.num_bytes[:-16].count(0)


def _check_place(folder: Path) -> None:
    """Raise UserError if `folder` can not be made or written into."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise UserError(f"{nearest}: is no folder; give --out another one")
    if not os.access(nearest, os.W_OK):
        raise UserError(f"{nearest}: may not be written into; give --out another folder")


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar on a terminal; one line for each stage when piped."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        stages: set[str] = set()

        def print_stage(stage: str, done: int, total: int | None) -> None:
            if stage not in stages:
                stages.add(stage)
                console.print(f"{stage} ...")

        yield print_stage
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[detail]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as bars:
        tasks = {}

        def move_bar(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, detail="")
            detail = f"{done:,} of {total:,}" if total is not None else f"{done / 1e6:,.1f} M characters"
            bars.update(tasks[stage], completed=done, total=total, detail=detail)

        yield move_bar
