"""Conversations as Markdown, as lines for SFT, and as preference pairs."""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from picochat.engine.markdown import to_markdown
from picochat.errors import UserError
from picochat.tokenizer.messages import messages_to_json
from workbench.conversations import Answer, Conversation


def export_conversation(conversation: Conversation, path: Path) -> None:
    """Write the path that is shown as a new .md file, or add it as a line to a .jsonl file for SFT.

    Raises UserError for another ending, nothing to write, a raw text as a line for SFT, or a .md file that
    exists.
    """
    messages = conversation.messages()
    if not conversation.path():
        raise UserError("there is nothing to export yet; ask something first")
    if path.suffix == ".md":
        _write_new(path, to_markdown(messages))
    elif path.suffix == ".jsonl":
        if conversation.is_raw:
            raise UserError("raw texts are no conversation to learn from; export them as .md")
        if messages[-1].role != "assistant":
            raise UserError("the last question has no answer yet; SFT learns from answers")
        row = json.dumps({"messages": messages_to_json(messages)}, ensure_ascii=False)
        with path.open("a", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(row + "\n")
    else:
        raise UserError(f"{path}: a conversation is exported as .md or .jsonl (for SFT)")


def preference_pairs(conversation: Conversation) -> Iterator[dict[str, Any]]:
    """Yield a pair for every two answers to a question of which one was judged good and the other bad."""
    if conversation.is_raw:
        return
    answers = [node for node in conversation.nodes.values() if isinstance(node, Answer)]
    for parent in dict.fromkeys(answer.parent for answer in answers):
        rated = [answer for answer in answers if answer.parent == parent]
        good = [answer for answer in rated if answer.rating > 0]
        bad = [answer for answer in rated if answer.rating < 0]
        for better, worse in product(good, bad):
            before = conversation.path_to(better)[:-1]
            prompt = messages_to_json(conversation.messages(before))
            chosen = messages_to_json(conversation.messages([better])[-1:])
            rejected = messages_to_json(conversation.messages([worse])[-1:])
            yield {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def export_preferences(conversations: Iterator[Conversation], path: Path) -> int:
    """Write the preference pairs of conversations as a new .jsonl file; return how many there are.

    Raises UserError if there are none, or for a file that exists or ends otherwise.
    """
    if path.suffix != ".jsonl":
        raise UserError(f"{path}: preference pairs are written as .jsonl")
    rows = [pair for conversation in conversations for pair in preference_pairs(conversation)]
    if not rows:
        raise UserError(
            "there are no pairs yet: judge one answer to a question good (+) and another one bad (-)"
        )
    _write_new(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return len(rows)


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text)
    except FileExistsError as error:
        raise UserError(f"{path} exists; choose another name") from error
