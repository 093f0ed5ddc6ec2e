"""Conversations as Markdown. No torch here: the workbench exports too."""

from collections.abc import Iterable

from picochat.tokenizer.messages import Message


def to_markdown(messages: Iterable[Message]) -> str:
    """Return a conversation as Markdown: thinking as quotes, tool calls as code."""
    sections = []
    for message in messages:
        blocks = [f"**{message.role.capitalize()}**"]
        for part in message.parts:
            if part.type == "text":
                blocks.append(part.text.strip())
            elif part.type == "thinking":
                blocks.append("\n".join(f"> {line}" for line in part.text.strip().splitlines()))
            else:
                blocks.append(f"    {'= ' if part.type == 'tool_result' else ''}{part.text}")
        sections.append("\n\n".join(block for block in blocks if block))
    return "\n\n".join(sections) + "\n"
