"""The folder of conversations: a file of JSON lines each, which only ever grows.

Lines are `conversation` (title, system prompt; the last one holds), `question`, `answer`, `tokens` (more of
an answer), `end` (of an answer), `rating` and `chosen` (what the path goes through). As every line is added
at once and names its message, several workbenches may write to one file: their messages become siblings.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from picochat.errors import UserError
from workbench.conversations import Answer, Conversation, Node, Question, shorten

TOKENS_PER_LINE = 256
FACTS = ("reason", "seed", "num_tokens", "num_context", "first_seconds", "seconds")
MAX_HISTORY = 1000


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A conversation in the list."""

    id: str
    name: str
    num_messages: int
    modified: float
    """Seconds since 1970."""
    words: str
    """Everything said in it, in small letters."""


@dataclass
class Store:
    """A folder of conversations."""

    folder: Path
    _summaries: dict[Path, tuple[tuple[float, int], Summary]] = field(default_factory=dict)

    def path(self, id: str) -> Path:
        """Return the file of a conversation."""
        return self.folder / f"{id}.jsonl"

    # Writing

    def write(self, conversation: Conversation, *rows: dict[str, Any]) -> None:
        """Add lines to a conversation's file; one that is new, or was deleted meanwhile, is written whole."""
        path = self.path(conversation.id)
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            rows = tuple(whole_rows(conversation))
        append_rows(path, rows)

    def write_node(self, conversation: Conversation, node: Node) -> None:
        """Add a message that is complete."""
        self.write(conversation, *node_rows(node))

    def delete(self, id: str) -> None:
        """Remove a conversation."""
        self.path(id).unlink(missing_ok=True)

    # Reading

    def read(self, id: str) -> Conversation:
        """Read a conversation. Lines that are damaged are left out. Raises UserError if nothing is left."""
        conversation = Conversation(id=id)
        is_found = False
        for row in read_rows(self.path(id)):
            is_found = is_found or row["type"] == "conversation"
            try:
                _apply(conversation, row)
            except (KeyError, TypeError, ValueError):
                continue
        if not is_found:
            raise UserError(f"{self.path(id)} holds no conversation")
        return conversation

    def find(self, words: str = "") -> list[Summary]:
        """Return the conversations that hold all `words`, the one last spoken in first."""
        wanted = words.casefold().split()
        found = [summary for summary in self._all() if all(word in summary.words for word in wanted)]
        return sorted(found, key=lambda summary: summary.modified, reverse=True)

    def ids(self) -> list[str]:
        """Return the ids of all conversations."""
        return [summary.id for summary in self.find()]

    def _all(self) -> Iterator[Summary]:
        for path in self.folder.glob("*-*.jsonl"):
            try:
                stat = path.stat()
                stamp = (stat.st_mtime, stat.st_size)
                known = self._summaries.get(path)
                if known is None or known[0] != stamp:
                    self._summaries[path] = known = (stamp, summarize(path, stat.st_mtime))
            except (OSError, UserError):
                continue
            yield known[1]


def summarize(path: Path, modified: float) -> Summary:
    """Read what the list shows of a conversation, past its tokens. Raises UserError if it holds none."""
    title, first, count, said, is_found = "", "", 0, [], False
    for row in read_rows(path, skip_tokens=True):
        match row:
            case {"type": "conversation", "title": str(named)}:
                title, is_found = named, True
            case {"type": "question" | "end" as kind, "text": str(text)}:
                said.append(text)
                count += 1
                first = first or (text if kind == "question" else "")
    if not is_found:
        raise UserError(f"{path} holds no conversation")
    return Summary(
        id=path.stem,
        name=title or shorten(first) or "(empty)",
        num_messages=count,
        modified=modified,
        words=" ".join([title, *said]).casefold(),
    )


# Rows


def head_row(conversation: Conversation) -> dict[str, Any]:
    """Return the line that tells of the conversation as a whole."""
    facts = {"title": conversation.title, "system": conversation.system, "is_raw": conversation.is_raw}
    return {"type": "conversation", **facts}


def answer_row(answer: Answer) -> dict[str, Any]:
    """Return the line an answer begins with."""
    facts = {"id": answer.id, "parent": answer.parent, "model": answer.model, "options": answer.options}
    return {"type": "answer", **facts}


def token_rows(answer: Answer, first: int) -> Iterator[dict[str, Any]]:
    """Return the lines of an answer's tokens from `first` on."""
    for start in range(first, len(answer.tokens), TOKENS_PER_LINE):
        end = min(start + TOKENS_PER_LINE, len(answer.tokens))
        yield {"type": "tokens", "id": answer.id, "rows": answer.tokens.to_json(start, end)}


def end_row(answer: Answer) -> dict[str, Any]:
    """Return the line an answer ends with."""
    facts = {name: getattr(answer, name) for name in FACTS}
    return {"type": "end", "id": answer.id, "text": answer.text, **facts}


def node_rows(node: Node) -> Iterator[dict[str, Any]]:
    """Return all lines of a message."""
    if isinstance(node, Question):
        yield {"type": "question", "id": node.id, "parent": node.parent, "text": node.text}
        return
    yield answer_row(node)
    yield from token_rows(node, 0)
    if node.reason:
        yield end_row(node)
    if node.rating:
        yield {"type": "rating", "id": node.id, "rating": node.rating}


def whole_rows(conversation: Conversation) -> Iterator[dict[str, Any]]:
    """Return all lines of a conversation."""
    yield head_row(conversation)
    for node in conversation.nodes.values():
        yield from node_rows(node)
    for id in conversation.chosen.values():
        yield {"type": "chosen", "id": id}


def _apply(conversation: Conversation, row: dict[str, Any]) -> None:
    nodes = conversation.nodes
    match row["type"]:
        case "conversation":
            conversation.title, conversation.system = str(row["title"]), str(row["system"])
            conversation.is_raw = bool(row["is_raw"])
        case "question":
            conversation.add(Question(id=row["id"], parent=_known(nodes, row["parent"]), text=row["text"]))
        case "answer":
            answer = Answer(id=row["id"], parent=_known(nodes, row["parent"]), model=row["model"])
            answer.options = dict(row["options"])
            # Whoever wrote it may have died before its end.
            answer.reason = "interrupted"
            conversation.add(answer)
        case "tokens":
            _answer(nodes, row).tokens.extend_json(row["rows"])
        case "end":
            for name in FACTS:
                setattr(_answer(nodes, row), name, row[name])
        case "rating":
            _answer(nodes, row).rating = int(row["rating"])
        case "chosen":
            node = nodes[row["id"]]
            conversation.chosen[node.parent] = node.id


def _known(nodes: dict[str, Node], parent: str) -> str:
    if parent and parent not in nodes:
        raise KeyError(parent)
    return parent


def _answer(nodes: dict[str, Node], row: dict[str, Any]) -> Answer:
    node = nodes[row["id"]]
    if not isinstance(node, Answer):
        raise TypeError(f"{node.id} is no answer")
    return node


# Files


def append_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Add JSON lines to a file, all at once: other processes may add to it too. Raises OSError."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    # What was cut off by a crash must not swallow the next line.
    prefix = b"" if _ends_with_newline(path) else b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
    try:
        content = memoryview(prefix + text.encode("utf-8", "surrogatepass"))
        while content:
            content = content[os.write(descriptor, content) :]
    finally:
        os.close(descriptor)


def _ends_with_newline(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
    except OSError:  # there is none yet, or it is empty
        return True


def read_rows(path: Path, *, skip_tokens: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the JSON lines of a file that have a type; others are damaged. Raises UserError for no file."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    with file:
        for line in file:
            if skip_tokens and line.startswith(b'{"type": "tokens"'):
                continue
            try:
                row = json.loads(line.decode("utf-8", "surrogatepass"))
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict) and isinstance(row.get("type"), str):
                yield row


class History:
    """What was sent before, by this and other workbenches that share the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lines: list[str] = []

    def read(self) -> None:
        """Read the newest entries anew."""
        try:
            rows = list(read_rows(self._path))
        except UserError:
            rows = []
        texts = [row["text"] for row in rows if row["type"] == "prompt" and isinstance(row.get("text"), str)]
        self.lines = texts[-MAX_HISTORY:]

    def add(self, text: str) -> None:
        """Remember a text, unless it is the last one again. Raises OSError."""
        if self.lines[-1:] == [text]:
            return
        self.lines.append(text)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        append_rows(self._path, [{"type": "prompt", "text": text}])
