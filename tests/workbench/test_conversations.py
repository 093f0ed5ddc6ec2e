"""Conversations: the tree, the files, what is exported, and two workbenches on one folder."""

import json
import multiprocessing
from pathlib import Path

import pytest

from picochat.engine.protocol import TokenInfo
from picochat.errors import UserError
from picochat.tokenizer.messages import parse_messages
from tests.workbench.driving import token
from workbench.conversations import ROOT, Answer, Conversation, Question, parse_source
from workbench.exports import export_conversation, export_preferences, preference_pairs
from workbench.store import TOKENS_PER_LINE, History, Store
from workbench.tokens import TokenList

SAID = [
    token("think_start", "control"),
    token("hm", "thinking"),
    token("think_end", "control"),
    token("h"),
    token("i\x1b\ud800"),
]


def conversation() -> Conversation:
    """Two answers to one question, the second chosen, and one to the next."""
    talk = Conversation(system="s", title="t")
    question = Question(parent=ROOT, text="q")
    talk.add(question)
    for text in ("one", "two"):
        talk.add(Answer(parent=question.id, tokens=TokenList([token(text)]), reason="stop", model="m"))
    after = Question(parent=talk.path()[-1].id, text="and?")
    talk.add(after)
    talk.add(Answer(parent=after.id, tokens=TokenList(SAID), reason="length", seed=3, options={"top_k": 4}))
    return talk


def test_tokens_in_columns_equal_tokens(tmp_path):
    said = [*SAID, TokenInfo(9, "tool_result", "5", "5", 0.0, forced=True)]
    tokens = TokenList(said)
    assert list(tokens) == said
    assert list(tokens[1:3]) == said[1:3]
    assert tokens[-1] == said[-1]
    again = TokenList()
    again.extend_json(json.loads(json.dumps(tokens.to_json(0, len(tokens)))))
    assert again == tokens
    with pytest.raises(IndexError):
        tokens[len(said)]


def test_a_conversation_is_read_as_it_was_written(tmp_path):
    store, talk = Store(tmp_path), conversation()
    store.write(talk)
    again = store.read(talk.id)
    assert [node.text for node in again.path()] == ["q", "two", "and?", "hi\x1b\ud800"]
    assert again.messages() == talk.messages()
    assert (again.title, again.system, again.is_raw) == ("t", "s", False)
    last = again.path()[-1]
    assert isinstance(last, Answer)
    assert (last.reason, last.seed, last.options) == ("length", 3, {"top_k": 4})
    assert last.tokens == TokenList(SAID)
    first = again.siblings(again.path()[1])[0]
    store.write(again, {"type": "chosen", "id": first})
    assert [node.text for node in store.read(talk.id).path()] == ["q", "one"]


def test_files_only_grow_and_damage_costs_only_the_damaged_lines(tmp_path):
    store, talk = Store(tmp_path), conversation()
    store.write(talk)
    path = store.path(talk.id)
    before = path.read_bytes()
    with path.open("ab") as file:
        file.write(
            b'\xff\xfe\n[]\n{"type": 3}\n{"type": "tokens", "id": "nobody", "rows": []}\n{"type": "tok'
        )
    question = Question(parent=talk.path()[-1].id, text="more")
    talk.add(question)
    store.write_node(talk, question)
    assert path.read_bytes().startswith(before)
    assert [node.text for node in store.read(talk.id).path()][-1] == "more"
    (tmp_path / "x-y.jsonl").write_text("no conversation\n")
    assert [found.id for found in store.find()] == [talk.id]
    with pytest.raises(UserError, match="holds no conversation"):
        store.read("x-y")


def test_an_answer_whose_writer_died_is_kept_as_far_as_it_came(tmp_path):
    store, talk = Store(tmp_path), Conversation()
    question = Question(parent=ROOT, text="q")
    answer = Answer(parent=question.id, tokens=TokenList([token("so far")]))
    talk.add(question)
    talk.add(answer)
    store.write(talk)
    again = store.read(talk.id).path()[-1]
    assert isinstance(again, Answer)
    assert (again.text, again.reason) == ("so far", "interrupted")


def test_long_answers_are_many_short_lines(tmp_path):
    store, talk = Store(tmp_path), Conversation()
    question = Question(parent=ROOT, text="q")
    count = 3 * TOKENS_PER_LINE + 5
    talk.add(question)
    talk.add(Answer(parent=question.id, tokens=TokenList(token(" w") for _ in range(count)), reason="stop"))
    store.write(talk)
    lines = [row for row in store.path(talk.id).read_text().splitlines() if '"type": "tokens"' in row]
    assert len(lines) == 4
    assert len(store.read(talk.id).path()[-1].tokens) == count


def test_search_finds_all_words_in_questions_answers_and_titles(tmp_path):
    store = Store(tmp_path)
    for title, text in (("", "About Whales"), ("pets", "about ants")):
        talk = Conversation(title=title)
        question = Question(parent=ROOT, text=text)
        talk.add(question)
        talk.add(Answer(parent=question.id, tokens=TokenList([token("they SWIM")]), reason="stop"))
        store.write(talk)
    assert [found.name for found in store.find("whales swim")] == ["About Whales"]
    assert [found.name for found in store.find("PETS about")] == ["pets"]
    assert len(store.find("about")) == 2
    assert store.find("whales ants") == []


def _write_many(folder: Path, id: str, name: str) -> None:
    store, history = Store(folder), History(folder / "history.jsonl")
    for i in range(50):
        talk = store.read(id)
        question = Question(parent=ROOT, text=f"{name} {i}")
        talk.add(question)
        store.write_node(talk, question)
        history.add(f"{name} {i}")


def test_two_workbenches_write_to_one_folder(tmp_path):
    store, talk = Store(tmp_path), conversation()
    store.write(talk)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(tmp_path, talk.id, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    texts = [node.text for node in store.read(talk.id).nodes.values() if isinstance(node, Question)]
    assert sorted(texts[2:]) == sorted(f"{name} {i}" for name in "ab" for i in range(50))
    history = History(tmp_path / "history.jsonl")
    history.read()
    assert len(history.lines) == 100


def test_one_deletes_what_the_other_goes_on_with(tmp_path):
    store, talk = Store(tmp_path), conversation()
    store.write(talk)
    store.delete(talk.id)
    question = Question(parent=ROOT, text="new")
    talk.add(question)
    store.write_node(talk, question)
    assert len(store.read(talk.id).nodes) == len(talk.nodes)


def test_edited_answers_are_read_with_their_tags():
    source = "<|think_start|>a<|think_end|>b<|tool_call_start|>1+1<|tool_call_end|>"
    source += "<|tool_result_start|>2<|tool_result_end|>c"
    parts = [(part.type, part.text) for part in parse_source(source)]
    assert parts == [
        ("thinking", "a"),
        ("text", "b"),
        ("tool_call", "1+1"),
        ("tool_result", "2"),
        ("text", "c"),
    ]
    assert parse_source("") == []
    for broken in ("<|think_start|>a", "x<|tool_result_start|>2<|tool_result_end|>"):
        with pytest.raises(UserError):
            parse_source(broken)


# Exports


def test_exports_are_what_sft_reads_and_what_people_read(tmp_path):
    talk = conversation()
    for name in ("a.jsonl", "a.jsonl", "a.md"):
        export_conversation(talk, tmp_path / name)
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    system, question, first, _, last = parse_messages(json.loads(lines[1])["messages"], where="a.jsonl")
    assert (system.text, question.text, first.text) == ("s", "q", "two")
    assert [(part.type, part.text) for part in last.parts] == [("thinking", "hm"), ("text", "hi\x1b?")]
    assert "**User**\n\nand?" in (tmp_path / "a.md").read_text(encoding="utf-8")
    for name, words in (("a.md", "exists"), ("a.txt", "exported as")):
        with pytest.raises(UserError, match=words):
            export_conversation(talk, tmp_path / name)
    with pytest.raises(UserError, match="nothing to export"):
        export_conversation(Conversation(), tmp_path / "b.md")
    raw = conversation()
    raw.is_raw = True
    with pytest.raises(UserError, match="raw texts"):
        export_conversation(raw, tmp_path / "b.jsonl")


def test_preference_pairs_hold_prompt_and_both_answers(tmp_path):
    talk = conversation()
    bad, good = (talk.nodes[id] for id in talk.siblings(talk.path()[1]))
    assert isinstance(good, Answer)
    assert isinstance(bad, Answer)
    with pytest.raises(UserError, match="no pairs yet"):
        export_preferences(iter([talk]), tmp_path / "p.jsonl")
    good.rating, bad.rating = 1, -1
    (pair,) = preference_pairs(talk)
    assert [message["content"] for message in pair["prompt"]] == ["s", "q"]
    assert pair["chosen"] == [{"role": "assistant", "content": "two"}]
    assert pair["rejected"] == [{"role": "assistant", "content": "one"}]
    assert export_preferences(iter([talk, talk]), tmp_path / "p.jsonl") == 2
    with pytest.raises(UserError, match="exists"):
        export_preferences(iter([talk]), tmp_path / "p.jsonl")
