"""Conversations as data: messages of parts, read from the JSON that people store them in.

Besides our own form (a content string, or a list of parts) OpenAI's is read: `tool_calls` and `tool` rows.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from picochat.errors import UserError

PartType = Literal["text", "thinking", "tool_call", "tool_result"]
Role = Literal["system", "user", "assistant"]

_ROLES = (*get_args(Role), "tool")
_PART_TYPES = get_args(PartType)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stretch of a turn. All but `text` occur in assistant turns only."""

    type: PartType
    text: str


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """What a reader sees: the text parts joined."""
        return "".join(part.text for part in self.parts if part.type == "text")


def parse_messages(rows: object, *, where: str) -> list[Message]:
    """Messages from the JSON value of a `messages` field.

    Each row has `role` (system, user, assistant, tool) and `content`, a string or a list of
    {"type": text | thinking | tool_call | tool_result, "text": str}. An assistant row may have
    `reasoning_content` or `thinking` (a string; it comes first) and OpenAI's `tool_calls` (they come last),
    whose arguments hold an `expression`. `tool` rows, and an assistant row after them, join that turn.
    Raises UserError that begins with `where` for anything else.
    """
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{where}: messages is not a list of at least one message")
    reader = _Reader()
    for number, row in enumerate(rows, 1):
        reader.read(row, f"{where}: message {number}")
    return reader.messages


def messages_to_json(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Rows that `parse_messages` reads back: content is a string, or a list of parts where it has to be."""
    return [{"role": message.role, "content": _content(message.parts)} for message in messages]


def _content(parts: tuple[Part, ...]) -> str | list[dict[str, str]]:
    match parts:
        case ():
            return ""
        case (Part(type="text", text=text),) if text:
            return text
        case _:
            return [{"type": part.type, "text": part.text} for part in parts]


class _Reader:
    """Joins rows to turns; remembers which calls of the last turn still wait for their result."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._waiting: list[tuple[object, Part]] = []  # id of a call, the call
        self._after_result = False

    def read(self, row: object, where: str) -> None:
        if not isinstance(row, dict):
            raise UserError(f"{where} is not an object with role and content")
        match row.get("role"):
            case "tool":
                self._add_result(row, where)
            case "assistant":
                self._add_assistant(row, where)
            case "user" | "system" as role:
                self._add_text(role, row, where)
            case role:
                raise UserError(f"{where} has the unknown role {role!r}; use one of {', '.join(_ROLES)}")

    def _add_assistant(self, row: dict[str, Any], where: str) -> None:
        parts, calls = _assistant_parts(row, where)
        if self._after_result:
            parts = (*self.messages.pop().parts, *parts)
        else:
            self._waiting = []
        self._waiting += calls
        self._after_result = False
        self.messages.append(Message(role="assistant", parts=parts))

    def _add_text(self, role: Role, row: dict[str, Any], where: str) -> None:
        parts = _content_parts(row, where)
        if any(part.type != "text" for part in parts):
            raise UserError(
                f"{where} has role {role}, which has no parts but text; only an assistant has them"
            )
        self._waiting = []
        self._after_result = False
        self.messages.append(Message(role=role, parts=parts))

    def _add_result(self, row: dict[str, Any], where: str) -> None:
        content = row.get("content")
        if not isinstance(content, str):
            raise UserError(f"{where} has role tool, but its content is not a string")
        call_id = row.get("tool_call_id")
        waiting = [i for i, (id, _) in enumerate(self._waiting) if call_id is None or id == call_id]
        if not waiting:
            raise UserError(f"{where} has role tool, but answers no tool call of the assistant before it")
        _, call = self._waiting.pop(waiting[0])
        turn = self.messages[-1]
        # Identity, not equality: the same expression may be called twice.
        after = next(i for i, part in enumerate(turn.parts) if part is call) + 1
        result = Part(type="tool_result", text=content)
        self.messages[-1] = replace(turn, parts=(*turn.parts[:after], result, *turn.parts[after:]))
        self._after_result = True


def _assistant_parts(row: dict[str, Any], where: str) -> tuple[tuple[Part, ...], list[tuple[object, Part]]]:
    # Two names of one thing; some servers send both.
    key = "reasoning_content" if row.get("reasoning_content") is not None else "thinking"
    thinking = ()
    if row.get(key) is not None:
        thinking = (Part(type="thinking", text=_string(row[key], f"{where}: {key}")),)
    tool_calls = row.get("tool_calls")
    # OpenAI writes null, or no content at all, beside tool calls.
    parts = () if tool_calls and row.get("content") is None else _content_parts(row, where)
    if tool_calls is not None and not isinstance(tool_calls, list):
        raise UserError(f"{where}: tool_calls is not a list")
    calls = [_tool_call(call, f"{where}: tool call {i}") for i, call in enumerate(tool_calls or [], 1)]
    _check_results((*thinking, *parts), where)
    return (*thinking, *parts, *(call for _, call in calls)), calls


def _content_parts(row: dict[str, Any], where: str) -> tuple[Part, ...]:
    content = row.get("content")
    if isinstance(content, str):
        return (Part(type="text", text=content),) if content else ()
    if not isinstance(content, list):
        raise UserError(f"{where} has no content that is a string or a list of parts")
    return tuple(_part(part, f"{where}: part {i}") for i, part in enumerate(content, 1))


def _part(part: object, where: str) -> Part:
    if not isinstance(part, dict):
        raise UserError(f"{where} is not an object with type and text")
    if part.get("type") not in _PART_TYPES:
        raise UserError(
            f"{where} has the unknown type {part.get('type')!r}; use one of {', '.join(_PART_TYPES)}"
        )
    return Part(type=part["type"], text=_string(part.get("text"), f"{where}: text"))


def _string(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where} is not a string")
    return value


def _check_results(parts: tuple[Part, ...], where: str) -> None:
    before = None
    for part in parts:
        if part.type == "tool_result" and before != "tool_call":
            raise UserError(f"{where} has a tool_result that does not follow a tool_call")
        before = part.type


def _tool_call(call: object, where: str) -> tuple[object, Part]:
    function = call.get("function") if isinstance(call, dict) else None
    arguments = function.get("arguments") if isinstance(function, dict) else None
    if isinstance(arguments, str):
        arguments = _json(arguments, where)
    match call, arguments:
        case {**fields}, {"expression": str(expression)}:
            return fields.get("id"), Part(type="tool_call", text=expression)
    raise UserError(f'{where} has no function whose arguments are {{"expression": "..."}}')


def _json(text: str, where: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: arguments is not JSON ({error})") from error
