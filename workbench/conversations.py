"""A conversation: a tree of questions and answers, one path of which is shown.

Nothing is ever replaced. To edit a message, or to answer a question once more, adds a sibling; the path
goes through one of the siblings at each place.
"""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from picochat.errors import UserError
from picochat.tokenizer.messages import Message, Part, PartType
from workbench.tokens import TokenList

TITLE_LENGTH = 48
ROOT = ""
"""The parent of first questions."""
TAGS: dict[str, PartType] = {
    "<|think_start|>": "thinking",
    "<|tool_call_start|>": "tool_call",
    "<|tool_result_start|>": "tool_result",
}


def new_id() -> str:
    """Return an id that no other message or workbench has."""
    return secrets.token_hex(6)


@dataclass(kw_only=True, eq=False)
class Question:
    """What the user said; or, in a raw conversation, a text to go on with."""

    parent: str
    text: str
    id: str = field(default_factory=new_id)

    def __post_init__(self) -> None:
        # Halves of characters can be neither sent nor exported.
        self.text = self.text.encode("utf-8", "replace").decode()


@dataclass(kw_only=True, eq=False)
class Answer:
    """What a model said, and what made it."""

    parent: str
    id: str = field(default_factory=new_id)
    tokens: TokenList = field(default_factory=TokenList)
    model: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    """Fields of `SamplingOptions`."""
    reason: str = ""
    """Why it ended (see `picochat.engine.events.Done`), or "edited"; empty while it is written."""
    seed: int | None = None
    num_tokens: int = 0
    """Tokens sampled by the model."""
    num_context: int = 0
    """Tokens of prompt and answer together."""
    first_seconds: float = 0.0
    seconds: float = 0.0
    rating: int = 0
    """1 for good, -1 for bad, 0 for not judged."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The answer as parts of a message; a control token ends a part of thinking or of a tool call."""
        parts = []
        pairs = zip(self.tokens.kinds, self.tokens.texts, strict=True)
        for kind, group in groupby(pairs, key=lambda pair: pair[0]):
            text = "".join(text for _, text in group)
            if text and kind != "control":
                parts.append(Part(type=kind, text=text))  # type: ignore[arg-type]
        return tuple(parts)

    @property
    def text(self) -> str:
        """What a reader sees."""
        return "".join(part.text for part in self.parts if part.type == "text")

    @property
    def source(self) -> str:
        """The answer with its tags written out, to be edited."""
        return "".join(
            label if kind == "control" else text
            for kind, text, label in zip(
                self.tokens.kinds, self.tokens.texts, self.tokens.labels, strict=True
            )
            if label not in ("<|assistant_end|>", "<|bos|>")
        )

    @property
    def rate(self) -> float:
        """Tokens a second, after the first."""
        return max(self.num_tokens - 1, 0) / max(self.seconds - self.first_seconds, 1e-6)


Node = Question | Answer


@dataclass(kw_only=True, eq=False)
class Conversation:
    """A chat, or raw texts that a model goes on with."""

    id: str = field(default_factory=lambda: f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}")
    title: str = ""
    system: str = ""
    is_raw: bool = False
    """Each question is a text to go on with, without the chat format; they know nothing of each other."""
    nodes: dict[str, Node] = field(default_factory=dict)
    chosen: dict[str, str] = field(default_factory=dict)
    """Id of a message to that of the child the path goes on with."""
    children: dict[str, list[str]] = field(default_factory=dict)

    def add(self, node: Node) -> None:
        """Add a message; the path goes through it."""
        self.nodes[node.id] = node
        self.children.setdefault(node.parent, []).append(node.id)
        self.chosen[node.parent] = node.id

    def path(self) -> list[Node]:
        """Return the messages that are shown, in order."""
        path: list[Node] = []
        place = ROOT
        while place in self.chosen:
            place = self.chosen[place]
            path.append(self.nodes[place])
        return path

    def path_to(self, node: Node) -> list[Node]:
        """Return the messages from the first to `node`."""
        path = [node]
        while path[-1].parent != ROOT:
            path.append(self.nodes[path[-1].parent])
        return path[::-1]

    def siblings(self, node: Node) -> list[str]:
        """Return the ids of the messages at the place of `node`, itself among them, oldest first."""
        return self.children[node.parent]

    @property
    def last_answer(self) -> Answer | None:
        """The newest answer of the path."""
        return next((node for node in reversed(self.path()) if isinstance(node, Answer)), None)

    @property
    def name(self) -> str:
        """The title, or the beginning of the first question."""
        path = self.path()
        first = path[0].text if path else "new conversation"
        return self.title or shorten(first)

    def messages(self, path: Sequence[Node] | None = None) -> list[Message]:
        """Return the shown path, or another one, as messages, the system prompt first."""
        messages = []
        if self.system:
            messages.append(Message(role="system", parts=(Part(type="text", text=self.system),)))
        for node in self.path() if path is None else path:
            if isinstance(node, Question):
                messages.append(Message(role="user", parts=(Part(type="text", text=node.text),)))
            else:
                messages.append(Message(role="assistant", parts=node.parts))
        return messages


def shorten(text: str) -> str:
    """Return the beginning of a text, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1] + "…"


def parse_source(source: str) -> list[Part]:
    """Read an edited answer, see `Answer.source`: the tags written out make parts.

    Raises UserError for a block that does not end, or a result without a call.
    """
    parts: list[Part] = []
    while source:
        starts = {tag: source.index(tag) for tag in TAGS if tag in source}
        tag = min(starts, key=lambda tag: starts[tag], default="")
        before = source[: starts[tag]] if tag else source
        if before:
            parts.append(Part(type="text", text=before))
        if not tag:
            break
        end = tag.replace("_start", "_end")
        inner, found, source = source[starts[tag] + len(tag) :].partition(end)
        if not found:
            raise UserError(f"{tag} needs a {end} behind it")
        if tag == "<|tool_result_start|>" and (not parts or parts[-1].type != "tool_call"):
            raise UserError(f"{tag} has to follow a tool call")
        parts.append(Part(type=TAGS[tag], text=inner))
    return parts
