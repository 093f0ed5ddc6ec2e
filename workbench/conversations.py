"""Conversations, kept as JSON files: one each, written whole and renamed into place."""

import json
import secrets
import time
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from picochat.engine.markdown import to_markdown
from picochat.engine.protocol import TokenInfo, token_from_json
from picochat.errors import UserError
from picochat.tokenizer.messages import Message, Part, messages_to_json
from picochat.train.run_dir import read_object, write_json

TITLE_LENGTH = 48


@dataclass(kw_only=True)
class Answer:
    """What a model said, and what made it."""

    tokens: list[TokenInfo] = field(default_factory=list)
    model: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    """Why it ended; see `picochat.engine.events.Done`."""
    seed: int | None = None
    seconds: float = 0.0

    @property
    def parts(self) -> tuple[Part, ...]:
        """The answer as parts of a message; a control token ends a part of thinking or of a tool call."""
        parts = []
        for kind, group in groupby(self.tokens, key=lambda token: token.kind):
            text = "".join(token.text for token in group)
            if text and kind != "control":
                parts.append(Part(type=kind, text=text))  # type: ignore[arg-type]
        return tuple(parts)


@dataclass(kw_only=True)
class Turn:
    """A question and the answers to it; `chosen` is the one the conversation goes on from."""

    question: str
    answers: list[Answer] = field(default_factory=list)
    chosen: int = 0


@dataclass(kw_only=True)
class Conversation:
    """A chat, or raw texts that a model goes on with."""

    id: str = field(default_factory=lambda: f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}")
    title: str = ""
    system: str = ""
    is_raw: bool = False
    """Each turn is a text to go on with, without the chat format; turns know nothing of each other."""
    turns: list[Turn] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The title, or the beginning of the first question."""
        first = " ".join(self.turns[0].question.split()) if self.turns else "new conversation"
        return self.title or first[:TITLE_LENGTH]

    def messages(self, *, up_to: int | None = None) -> list[Message]:
        """Return the messages; with `up_to`, those that lead to the answer of that turn."""
        messages = []
        if self.system:
            messages.append(Message(role="system", parts=(Part(type="text", text=self.system),)))
        for index, turn in enumerate(self.turns[: None if up_to is None else up_to + 1]):
            messages.append(Message(role="user", parts=(Part(type="text", text=turn.question),)))
            if turn.answers and index != up_to:
                parts = turn.answers[turn.chosen].parts
                messages.append(Message(role="assistant", parts=parts))
        return messages

    def export(self, path: Path) -> None:
        """Write as a new .md file, or add as a line to a .jsonl file for SFT.

        Raises UserError for another ending, nothing to write, or a .md file that exists.
        """
        if not self.turns:
            raise UserError("there is nothing to export yet; ask something first")
        if path.suffix == ".jsonl":
            row = json.dumps({"messages": messages_to_json(self.messages())}, ensure_ascii=False)
            with path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(row + "\n")
        elif path.suffix == ".md":
            if path.exists():
                raise UserError(f"{path} exists; choose another name")
            path.write_text(to_markdown(self.messages()), encoding="utf-8", newline="\n")
        else:
            raise UserError(f"{path}: a conversation is exported as .md or .jsonl (for SFT)")


@dataclass(frozen=True)
class Store:
    """A folder of conversations."""

    folder: Path

    def save(self, conversation: Conversation) -> None:
        """Write a conversation in place of its older self."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / f"{conversation.id}.json", asdict(conversation))

    def delete(self, conversation: Conversation) -> None:
        """Remove a conversation's file."""
        (self.folder / f"{conversation.id}.json").unlink(missing_ok=True)

    def find(self, words: str = "") -> list[Conversation]:
        """Return the conversations that hold all `words`, newest first; damaged files are left out."""
        found = []
        for path in sorted(self.folder.glob("*.json"), reverse=True):
            try:
                conversation = _from_json(read_object(path, "id", "title", "system", "is_raw", "turns"))
            except (UserError, KeyError, TypeError):
                continue
            told = " ".join([conversation.title, *(message.text for message in conversation.messages())])
            if all(word in told.casefold() for word in words.casefold().split()):
                found.append(conversation)
        return found


def _from_json(row: dict[str, Any]) -> Conversation:
    turns = [
        Turn(
            question=turn["question"],
            chosen=turn["chosen"],
            answers=[
                Answer(**{**answer, "tokens": [token_from_json(token) for token in answer["tokens"]]})
                for answer in turn["answers"]
            ],
        )
        for turn in row["turns"]
    ]
    return Conversation(**{**row, "turns": turns})
