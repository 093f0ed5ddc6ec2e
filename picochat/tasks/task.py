"""What a task is: problems read from a file, shown as a conversation, and a rule for which text is right."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from picochat.data.bad_rows import BadRows, OnBadRow
from picochat.data.jsonl import field_names
from picochat.errors import UserError
from picochat.tasks.rows import iter_rows
from picochat.tokenizer.conversation import Message, Part


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One question with its right answer."""

    id: str
    """The row's own id, else file name and line."""
    task: str
    """Name of its task in `picochat.tasks.registry.TASKS`."""
    messages: tuple[Message, ...]
    """The prompt: few-shot turns, if any, then the question as a user's turn."""
    solution: Message
    """A right answer as an assistant's turn: for few-shot prompts and for fine-tuning."""
    answer: str
    """The right answer in the form that `Task.extract` gives."""
    choices: tuple[str, ...] = ()
    """Of a multiple-choice problem: the texts to choose from, shown as A, B, C, ..."""
    requires_tool: bool = False
    """The calculator has to be called."""
    level: str = ""
    """What kind of problem it is: the row's `level` field; for MMLU the subject."""
    rivals: frozenset[str] = frozenset()
    """Answers of the other problems, for a rule against naming them all (see simple_qa.py)."""

    @property
    def question(self) -> str:
        """The text of the last user turn."""
        return self.messages[-1].text

    @property
    def conversation(self) -> tuple[Message, ...]:
        """The prompt and its right answer."""
        return (*self.messages, self.solution)


class Task(ABC):
    """Reads problems and judges texts."""

    name: ClassVar[str]

    def load(self, path: str | Path, *, on_bad_row: OnBadRow | BadRows = "stop") -> list[Problem]:
        """Return the problems of a file, in its order.

        on_bad_row: stop at a row that is no problem, or skip it; a `BadRows` keeps the count.

        Raises:
            UserError: no such file, a bad row (named file:line), or no problem at all.
        """
        path = Path(path)
        bad_rows = BadRows.of(on_bad_row)
        problems = []
        for row, where in self.rows(path, bad_rows):
            try:
                problems.append(self.parse(row, where=where))
            except UserError as error:
                bad_rows.add(str(error))
        if not problems:
            left_out = f" ({bad_rows.summary()})" if bad_rows.count else ""
            raise UserError(f"{path}: no {self.name} problem in it{left_out}; is it the right file?")
        return problems

    def rows(self, path: Path, bad_rows: BadRows) -> Iterator[tuple[dict[str, Any], str]]:
        """Yield (row, where it stands) of a file."""
        return iter_rows(path, bad_rows)

    @abstractmethod
    def parse(self, row: dict[str, Any], *, where: str) -> Problem:
        """Return the problem a row holds; raises `UserError` beginning with `where` if it holds none."""

    @abstractmethod
    def extract(self, problem: Problem, text: str) -> str | None:
        """Return what the assistant's `text` answers to `problem`, None if nothing."""

    def is_correct(self, problem: Problem, text: str) -> bool:
        """Return whether the assistant's `text` answers `problem` rightly."""
        return self.extract(problem, text) == problem.answer


def with_examples(problem: Problem, examples: Sequence[Problem]) -> Problem:
    """Return `problem` with solved `examples` as turns before it (few-shot).

    Take the examples from other data than the problem: from the training split, or MMLU's `dev`.
    """
    turns = tuple(turn for example in examples for turn in example.conversation)
    return replace(problem, messages=turns + problem.messages)


def user_turn(text: str) -> Message:
    return Message(role="user", parts=(Part(type="text", text=text),))


def assistant_turn(text: str) -> Message:
    return Message(role="assistant", parts=(Part(type="text", text=text),))


def text_field(row: dict[str, Any], name: str, *, where: str) -> str:
    """Return the non-blank text in field `name`; raises `UserError` naming the field."""
    value = field(row, name, where=where)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: field {name!r} has to be a text that is not empty")
    return value


def field(row: dict[str, Any], name: str, *, where: str) -> Any:
    """Return what is in field `name`; raises `UserError` naming the field."""
    if name not in row:
        raise UserError(f"{where}: no field {name!r}; it has: {field_names(row)}")
    return row[name]


def row_id(row: dict[str, Any], where: str) -> str:
    """Return the row's `id` if it has one, else `where` without its folder."""
    return str(row["id"]) if row.get("id") else Path(where).name


def row_level(row: dict[str, Any]) -> str:
    """Return the row's `level`, empty if it has none."""
    return str(row.get("level") or "")
