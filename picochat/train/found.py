"""What there is to begin a run with: tokenizers. Needs no torch."""

from collections.abc import Iterator
from pathlib import Path

from picochat.errors import UserError
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.run_dir import read_object, runs_of


def found_tokenizers(runs_dir: Path, folder: Path = Path()) -> dict[str, str]:
    """Return the tokenizers in `folder`, in the folders in it, and in the pretrained runs.

    Each as what it is called, with the size of its vocabulary, and the path or run that a run takes it from.
    What can not be read is left out.
    """
    found = {}
    for name, path in (*_saved(folder), *_of_runs(runs_dir)):
        try:
            size = _vocabulary(path)
        except (UserError, OSError):
            continue
        found[f"{name} ({size:,} tokens)"] = str(path)
    return found


def _saved(folder: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted([*folder.glob("tokenizer.json"), *folder.glob("*/tokenizer.json")]):
        yield str(file.parent) if file.parent != folder else file.name, file.parent


def _of_runs(runs_dir: Path) -> Iterator[tuple[str, Path]]:
    for run in runs_of(runs_dir, "pretrain"):
        yield f"that of the run {run.name}", list(run.checkpoints().values())[-1]


def _vocabulary(path: Path) -> int:
    # A checkpoint's says it in a few bytes.
    if (config := path / "config.json").is_file():
        return int(read_object(config, "vocab_size")["vocab_size"])
    return Tokenizer.load(path).vocab_size
