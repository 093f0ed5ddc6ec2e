"""Conversations: history, regenerate, saving, and what happens when they grow too long."""

import json
from pathlib import Path

import pytest

from picochat.data.sft import Conversations
from picochat.engine.chat import chat
from picochat.engine.events import Done
from picochat.engine.generate import Engine, SamplingOptions
from picochat.engine.session import ChatSession, fit_prompt, text_message, to_markdown
from picochat.errors import UserError
from picochat.model.gpt import GPT
from picochat.tokenizer.conversation import Message, Part, parse_messages, render_prompt
from picochat.tokenizer.tokenizer import Tokenizer

SHORT = SamplingOptions(seed=3, temperature=1.0, max_tokens=6)


def roles(session: ChatSession) -> list[str]:
    return [message.role for message in session.messages]


def test_history_grows_and_each_answer_sees_it(engine: Engine) -> None:
    session = ChatSession(engine, options=SHORT, system="be kind")
    list(session.send("the cat"))
    first = session.messages[-1]
    *_, done = session.send("the hat")
    assert roles(session) == ["system", "user", "assistant", "user", "assistant"]
    assert session.messages[2] == first
    prompt_ids = render_prompt(engine.tokenizer, session.messages[:-1])
    *_, alone = Engine(engine.model, engine.tokenizer).generate(prompt_ids, SHORT)
    assert isinstance(done, Done)
    assert isinstance(alone, Done)
    assert done.completion.ids == alone.completion.ids


def test_a_stopped_answer_keeps_what_was_written(engine: Engine) -> None:
    session = ChatSession(engine, options=SHORT)
    generation = session.send("the cat")
    next(generation)
    next(generation)
    generation.cancel()
    list(generation)
    assert session.messages[-1].parts == generation.completion.parts
    assert generation.completion.finish_reason == "cancelled"
    list(session.send("go on"))
    assert roles(session) == ["user", "assistant", "user", "assistant"]


def test_regenerate_replaces_the_answer_and_takes_the_next_seed(engine: Engine) -> None:
    session = ChatSession(engine, options=SHORT)
    with pytest.raises(UserError, match="no answer"):
        session.regenerate()
    list(session.send("the cat"))
    seeds = []
    for _ in range(2):
        generation = session.regenerate()
        list(generation)
        seeds.append(generation.completion.seed)
    assert seeds == [4, 5]
    assert roles(session) == ["user", "assistant"]
    session.clear()
    assert session.messages == []


def test_a_question_that_can_not_be_asked_leaves_no_trace(engine: Engine) -> None:
    session = ChatSession(engine, options=SHORT)
    with pytest.raises(UserError, match="context"):
        session.send("x" * 500)
    assert session.messages == []


def test_a_long_conversation_loses_its_oldest_turns(tokenizer: Tokenizer) -> None:
    messages = [text_message("system", "S" * 4)]
    for i in range(6):
        messages += [text_message("user", f"Q{i}" * 3), text_message("assistant", f"A{i}" * 3)]
    messages.append(text_message("user", "last"))
    whole = render_prompt(tokenizer, messages)
    assert fit_prompt(tokenizer, messages, context=len(whole) + 8, reserve=8) == whole
    fitted = tokenizer.decode(fit_prompt(tokenizer, messages, context=len(whole) + 7, reserve=8))
    assert "SSSS" in fitted
    assert "Q0" not in fitted
    assert "A0" not in fitted
    assert "Q1" in fitted
    # Never less than the last question, which the engine then refuses if it must.
    least = fit_prompt(tokenizer, messages, context=4, reserve=0)
    assert least == render_prompt(tokenizer, [messages[0], messages[-1]])


def test_a_conversation_longer_than_the_context_goes_on(engine: Engine) -> None:
    session = ChatSession(engine, options=SHORT)
    for i in range(12):
        *_, done = session.send(f"question {i}")
        assert isinstance(done, Done)
        assert done.num_tokens >= 1
    assert len(session.messages) == 24


REASONED = Message(
    role="assistant",
    parts=(
        Part(type="thinking", text="add them\nnow"),
        Part(type="tool_call", text="1+1"),
        Part(type="tool_result", text="2"),
        Part(type="text", text="It is 2."),
    ),
)


def test_saved_conversations_are_training_data(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "saved.jsonl"
    messages = [text_message("user", "1+1?"), REASONED]
    session = ChatSession(engine, system="be kind", messages=messages)
    session.save(path)
    session.clear()
    session.system = ""
    list(session.send("naïve 😀"))
    session.save(path)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert parse_messages(rows[0]["messages"], where="x") == [text_message("system", "be kind"), *messages]
    assert parse_messages(rows[1]["messages"], where="x") == session.messages
    assert len(Conversations(path, engine.tokenizer)) == 2


def test_lone_surrogates_are_saved_as_the_model_read_them(engine: Engine, tmp_path: Path) -> None:
    session = ChatSession(engine, options=SHORT, system="s\udcff")
    list(session.send("na\udcefve 😀"))
    for name in ("saved.jsonl", "saved.md"):
        session.save(tmp_path / name)
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "s\ufffd" in text
        assert "na\ufffdve 😀" in text
    assert Conversations(tmp_path / "saved.jsonl", engine.tokenizer).messages(0)[1].text == "na\ufffdve 😀"


def test_saved_markdown(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "saved.md"
    session = ChatSession(engine, messages=[text_message("user", "1+1?"), REASONED])
    session.save(path)
    assert path.read_text(encoding="utf-8") == (
        "**User**\n\n1+1?\n\n**Assistant**\n\n> add them\n> now\n\n    1+1\n\n    = 2\n\nIt is 2.\n"
    )
    with pytest.raises(UserError, match="exists"):
        session.save(path)
    with pytest.raises(UserError, match="jsonl"):
        session.save(tmp_path / "saved.txt")
    session.clear()
    with pytest.raises(UserError, match="nothing to save"):
        session.save(tmp_path / "other.md")
    assert to_markdown([]) == "\n"


def test_chat_takes_dicts_and_messages(model: GPT, tokenizer: Tokenizer) -> None:
    rows = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "the cat"}]
    from_rows = list(chat(model, tokenizer, rows, seed=1, temperature=0.5, max_tokens=5))
    parsed = parse_messages(rows, where="x")
    assert list(chat(model, tokenizer, parsed, seed=1, temperature=0.5, max_tokens=5)) == from_rows
    assert isinstance(from_rows[-1], Done)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "at least one"),
        ([{"role": "user"}], "content"),
        ([{"role": "robot", "content": ""}], "robot"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "the assistant's"),
    ],
)
def test_chat_names_what_is_wrong(model: GPT, tokenizer: Tokenizer, messages: list, message: str) -> None:
    with pytest.raises(UserError, match=message):
        chat(model, tokenizer, messages)
