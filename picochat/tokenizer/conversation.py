"""Conversations as ids: the one place that puts special tokens between texts.

`<|bos|>`, then turns. A user or system turn is `<|user_start|>text<|user_end|>`; an assistant turn is
`<|assistant_start|>parts<|assistant_end|>`, where thinking, tool calls and tool results stand between tags.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from picochat.tokenizer.messages import Message, Part, PartType, Role, messages_to_json, parse_messages
from picochat.tokenizer.tokenizer import Tokenizer

__all__ = [
    "Message",
    "Part",
    "PartType",
    "Rendered",
    "Role",
    "messages_to_json",
    "parse_messages",
    "render_conversation",
    "render_prompt",
]

_TAGS: dict[PartType, tuple[str, str]] = {
    "thinking": ("<|think_start|>", "<|think_end|>"),
    "tool_call": ("<|tool_call_start|>", "<|tool_call_end|>"),
    "tool_result": ("<|tool_result_start|>", "<|tool_result_end|>"),
}


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A conversation as ids; mask[i] says whether ids[i] is for the assistant to produce (and to learn)."""

    ids: list[int]
    mask: list[bool]


def render_conversation(tokenizer: Tokenizer, messages: Sequence[Message]) -> Rendered:
    """Ids and mask of a whole conversation, `<|bos|>` first.

    The mask is True for the assistant's text, thinking and tool calls (their tags too) and for
    `<|assistant_end|>`; False for what others write: users, the system, tool results with their tags.
    """
    ids = [tokenizer.special["<|bos|>"]]
    mask = [False]
    for message in messages:
        if message.role == "assistant":
            _add(ids, mask, [tokenizer.special["<|assistant_start|>"]], learned=False)
            for part in message.parts:
                _add(ids, mask, _part_ids(tokenizer, part), learned=part.type != "tool_result")
            _add(ids, mask, [tokenizer.special["<|assistant_end|>"]], learned=True)
        else:
            start, end = tokenizer.special["<|user_start|>"], tokenizer.special["<|user_end|>"]
            _add(ids, mask, [start, *tokenizer.encode(message.text), end], learned=False)
    return Rendered(ids=ids, mask=mask)


def render_prompt(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """Ids of a conversation up to and with the `<|assistant_start|>` of the answer to come."""
    return [*render_conversation(tokenizer, messages).ids, tokenizer.special["<|assistant_start|>"]]


def _add(ids: list[int], mask: list[bool], new: list[int], *, learned: bool) -> None:
    ids += new
    mask += [learned] * len(new)


def _part_ids(tokenizer: Tokenizer, part: Part) -> list[int]:
    ids = tokenizer.encode(part.text)
    if part.type == "text":
        return ids
    start, end = _TAGS[part.type]
    return [tokenizer.special[start], *ids, tokenizer.special[end]]
