"""The public data sets that `picochat data get` knows: where they are and what becomes of them.

Each is pinned to a commit of its repository on huggingface.co. Where picochat reads JSON Lines, rows are
converted to the form that its readers document; raw text stays the Parquet it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from picochat.errors import UserError

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class HubFiles:
    """Files of a repository that become one part of a data set."""

    folder: str
    """In the repository; empty for its root."""
    pattern: str
    """Glob of the file names there; taken in sorted order."""
    exclude: str = ""
    """Glob of file names to leave out."""
    to: str
    """A folder (`train`) to keep the files in, or a `.jsonl` file to write their rows to."""
    limited: bool = True
    """Whether the limit on the number of files holds for this part."""


@dataclass(frozen=True, kw_only=True)
class HubSet:
    """A data set on huggingface.co."""

    summary: str
    repo: str
    revision: str
    """The commit."""
    licence: str
    parts: tuple[HubFiles, ...]
    max_files: int | None = None
    """How many files of a part are fetched if nothing else is asked for; None: all."""
    convert: Callable[[Row], Row] | None = None
    """From a row of the repository to one of the JSON Lines; None for raw text."""


def gsm8k_row(row: Row) -> Row:
    """The official form: {"question", "answer"}."""
    return {"question": row["question"], "answer": row["answer"]}


def arc_row(row: Row) -> Row:
    """The official nested form, from the flat one of the repository."""
    choices = zip(row["choices"]["text"], row["choices"]["label"], strict=True)
    question = {
        "stem": row["question"],
        "choices": [{"text": text, "label": label} for text, label in choices],
    }
    return {"id": row["id"], "question": question, "answerKey": row["answerKey"]}


def mmlu_row(row: Row) -> Row:
    """{"question", "subject", "choices", "answer": 0 to 3}."""
    return {key: row[key] for key in ("question", "subject", "choices", "answer")}


def smoltalk_row(row: Row) -> Row:
    """{"messages": [{"role", "content"}, ...], "source"}."""
    messages = [{"role": message["role"], "content": message["content"]} for message in row["messages"]]
    return {"messages": messages, "source": row.get("source")}


def _one_file(folder: str, split: str, to: str) -> HubFiles:
    return HubFiles(folder=folder, pattern=f"{split}-*.parquet", to=to, limited=False)


HUB_SETS: dict[str, HubSet] = {
    "tinystories": HubSet(
        summary="2.1 million short stories in a small child's words (1 GB)",
        repo="roneneldan/TinyStories",
        revision="f54c09fd23315a6f9c86f9dc80f725de7d8f9c64",
        licence="CDLA-Sharing-1.0",
        parts=(
            HubFiles(folder="data", pattern="train-*.parquet", to="train"),
            HubFiles(folder="data", pattern="validation-*.parquet", to="val", limited=False),
        ),
    ),
    "fineweb-edu": HubSet(
        summary="educational web pages, 10 billion tokens; by default the first of 14 files (2 GB)",
        repo="HuggingFaceFW/fineweb-edu",
        revision="87f09149ef4734204d70ed1d046ddc9ca3f2b8f9",
        licence="ODC-BY-1.0",
        parts=(HubFiles(folder="sample/10BT", pattern="*.parquet", to="train"),),
        max_files=1,
    ),
    "climbmix": HubSet(
        summary="web text, 400 billion tokens, shuffled; by default 8 of 6542 files (0.7 GB), 1 to validate",
        repo="karpathy/climbmix-400b-shuffle",
        revision="915333b4f8b8684f39aeaafea600fea6f43fb703",
        licence="MIT (the text it is made of: CC-BY-NC-4.0)",
        parts=(
            # nanochat validates on the last file.
            HubFiles(folder="", pattern="shard_*.parquet", exclude="shard_06542.parquet", to="train"),
            HubFiles(folder="", pattern="shard_06542.parquet", to="val", limited=False),
        ),
        max_files=8,
    ),
    "smoltalk": HubSet(
        summary="1 million conversations; by default the first of 9 files, and the test split",
        repo="HuggingFaceTB/smoltalk",
        revision="5feaf2fd3ffca7c237fc38d1861bc30365d48ffa",
        licence="Apache-2.0 (parts differ: see the repository)",
        parts=(
            HubFiles(folder="data/all", pattern="train-*.parquet", to="train.jsonl"),
            _one_file("data/all", "test", "test.jsonl"),
        ),
        max_files=1,
        convert=smoltalk_row,
    ),
    "gsm8k": HubSet(
        summary="8,500 arithmetic word problems with worked answers",
        repo="openai/gsm8k",
        revision="740312add88f781978c0658806c59bc2815b9866",
        licence="MIT",
        parts=(_one_file("main", "train", "train.jsonl"), _one_file("main", "test", "test.jsonl")),
        convert=gsm8k_row,
    ),
    "arc": HubSet(
        summary="7,800 grade-school science questions with choices, easy and hard",
        repo="allenai/ai2_arc",
        revision="210d026faf9955653af8916fad021475a3f00453",
        licence="CC-BY-SA-4.0",
        parts=tuple(
            _one_file(level, split, f"{level}-{name}.jsonl")
            for level in ("ARC-Easy", "ARC-Challenge")
            for split, name in (("train", "Train"), ("validation", "Dev"), ("test", "Test"))
        ),
        convert=arc_row,
    ),
    "mmlu": HubSet(
        summary="16,000 four-choice questions of 57 subjects",
        repo="cais/mmlu",
        revision="c30699e8356da336a370243923dbaf21066bb9fe",
        licence="MIT",
        parts=(
            _one_file("all", "dev", "dev.jsonl"),
            _one_file("all", "validation", "val.jsonl"),
            _one_file("all", "test", "test.jsonl"),
        ),
        convert=mmlu_row,
    ),
}


def hub_set(name: str) -> HubSet:
    """Return a known set.

    Raises:
        UserError: there is none of that name; lists those there are.
    """
    if name not in HUB_SETS:
        raise UserError(f"no data set {name!r} is known; choose one of {', '.join(HUB_SETS)}")
    return HUB_SETS[name]
