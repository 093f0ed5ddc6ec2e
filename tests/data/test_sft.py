"""Conversations: rows checked with their places, read on demand, packed whole with loss where it belongs."""

import json
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from picochat.data import jsonl, sft
from picochat.data.batch import IGNORE, peek
from picochat.data.mixture import Mixture
from picochat.data.sft import Conversations, PackedConversations
from picochat.errors import UserError
from picochat.tokenizer.conversation import Rendered, parse_messages, render_conversation
from picochat.tokenizer.special import SPECIAL_TOKENS
from picochat.tokenizer.tokenizer import Tokenizer

TOKENIZER = Tokenizer.from_merges([], 272)
PAD = TOKENIZER.special["<|pad|>"]
ANSWER_END = TOKENIZER.special["<|assistant_end|>"]


def row(user: str, assistant: str) -> dict:
    return {"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]}


def write(path: Path, rows: list[dict | str], end: str = "\n") -> Path:
    path.parent.mkdir(exist_ok=True)
    lines = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in rows]
    path.write_bytes(end.join(lines).encode())
    return path


# ---- Conversations


def test_items_are_the_rendered_rows_of_a_file_or_folder(tmp_path):
    rows = [row(f"question {number} é", "answer 😀" * number) for number in range(1, 8)]
    write(tmp_path / "chat" / "a.jsonl", ["\ufeff" + json.dumps(rows[0]), "", "  ", *rows[1:4]], end="\r\n")
    write(tmp_path / "chat" / "b.jsonl", [*rows[4:], ""])
    conversations = Conversations(tmp_path / "chat", TOKENIZER)
    assert len(conversations) == 7
    for index, expected in enumerate(rows):
        messages = parse_messages(expected["messages"], where="test")
        assert conversations.messages(index) == messages
        assert conversations[index] == render_conversation(TOKENIZER, messages)
    for index in (-1, 7):
        with pytest.raises(IndexError):
            conversations[index]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ('{"messages": [', "not valid JSON"),
        ({"text": "x", "id": 1}, 'no field "messages"; it has: text, id'),
        ({"messages": [{"role": "user", "content": "x"}]}, "no assistant message"),
        ({"messages": []}, "not a list of at least one message"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "robot"),
        ('{"messages": [{"role": "assistant", "content": "x"}], "score": NaN}', "NaN is not a JSON value"),
        ('{"messages": [{"role": "assistant", "content": NaN}]}', "NaN is not a JSON value"),
        ('{"messages": [{"role": "assistant", "content": "x", "content": "y"}]}', '"content" stands twice'),
        ('{"messages": [{"role": "assistant", "content": "a\0b"}]}', "not valid JSON: Invalid control"),
        ('{"messages": [{"role": "assistant", "content": null}]}', "no content that is a string"),
        ('{"messages": [{"role": "assistant", "content": "' + "x" * 1000 + '"}]}', "longer than"),
    ],
)
def test_bad_rows_are_named_or_skipped(tmp_path, bad, message, monkeypatch):
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 500)
    path = write(tmp_path / "chat.jsonl", [row("a", "b"), "", bad, row("c", "d")])
    with pytest.raises(UserError, match=message) as error:
        Conversations(path, TOKENIZER)
    assert str(error.value).startswith(f"{path}:3: ")
    conversations = Conversations(path, TOKENIZER, on_bad_row="skip")
    assert len(conversations) == 2
    assert conversations.messages(1)[0].text == "c"
    assert conversations.bad_rows.count == 1


def test_a_last_row_that_was_cut_is_a_bad_row(tmp_path):
    whole, last = (json.dumps(row(*pair), ensure_ascii=False).encode() for pair in [("a", "b"), ("c", "dé")])
    path = tmp_path / "chat.jsonl"
    for length in range(1, len(last)):
        path.write_bytes(whole + b"\n" + last[:length])
        with pytest.raises(UserError, match=re.escape(f"{path}:2: not ")):
            Conversations(path, TOKENIZER)
        assert len(Conversations(path, TOKENIZER, on_bad_row="skip")) == 1


def test_any_text_can_be_learned(tmp_path):
    """NUL, lone surrogates, an empty answer, a long one, and what spells specials."""
    texts = ["a\0b", "\ud800 \udfff", "", "long 😀" * 20_000, *SPECIAL_TOKENS, "".join(SPECIAL_TOKENS)]
    rows = [json.dumps(row(text, text)) for text in texts]
    conversations = Conversations(write(tmp_path / "chat.jsonl", rows), TOKENIZER)
    names = ("<|bos|>", "<|user_start|>", "<|user_end|>", "<|assistant_start|>", "<|assistant_end|>")
    for text, rendered in zip(texts, map(conversations.__getitem__, range(len(texts))), strict=True):
        assert [id for id in rendered.ids if TOKENIZER.is_special(id)] == [
            TOKENIZER.special[name] for name in names
        ]
        said = "\ufffd \ufffd" if "\ud800" in text else text
        assert TOKENIZER.decode(rendered.ids) == (
            f"<|bos|><|user_start|>{said}<|user_end|><|assistant_start|>{said}<|assistant_end|>"
        )


def test_files_that_are_none_are_named(tmp_path):
    (tmp_path / "folder").mkdir()
    for path, message in [
        (tmp_path / "gone.jsonl", "no such file"),
        (tmp_path / "folder", "no .jsonl file in this folder"),
        (write(tmp_path / "a.json", [row("a", "b")]), "conversations are read from .jsonl"),
        (write(tmp_path / "empty.jsonl", []), "no conversation in it;"),
    ]:
        with pytest.raises(UserError, match=re.escape(f"{path}: {message}")):
            Conversations(path, TOKENIZER)
    path = write(tmp_path / "bad.jsonl", ["{"])
    with pytest.raises(UserError, match=re.escape("no conversation in it (1 bad row left out; the first: ")):
        Conversations(path, TOKENIZER, on_bad_row="skip")


def test_equal_rows_have_equal_fingerprints(tmp_path):
    def fingerprint(rows: list[dict | str], end: str = "\n") -> str:
        path = write(tmp_path / "chat.jsonl", rows, end)
        return Conversations(path, TOKENIZER, on_bad_row="skip").fingerprint

    rows = [row("a", "b"), row("c", "d")]
    assert fingerprint(["", rows[0], "{", rows[1]], end="\r\n") == fingerprint(rows)
    assert len({fingerprint(rows), fingerprint(rows[::-1]), fingerprint([rows[0], row("c", "D")])}) == 3


def test_a_row_that_changed_is_an_error_and_one_more_is_not(tmp_path):
    path = write(tmp_path / "chat.jsonl", [row("a", "b"), row("c", "d"), ""])
    conversations = Conversations(path, TOKENIZER)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row("e", "f")) + "\n")
    assert conversations.messages(1)[0].text == "c"
    for changed in ([row("a", "b"), row("C", "d")], [row("a", "bb"), row("c", "d")], []):
        write(path, changed)
        with pytest.raises(UserError, match=re.escape(f"{path}: has changed while it was in use; put it")):
            conversations[1]
    path.unlink()
    with pytest.raises(UserError, match=re.escape(f"{path}: can not be read any more (No such file")):
        conversations[1]


# ---- packing


def conversation(number: int, prompt: int, answer: int) -> Rendered:
    """A conversation of 1 + prompt + answer tokens that can be recognised: BOS is -number here."""
    ids = [-number, *([1000 + number] * prompt), *([2000 + number] * answer)]
    return Rendered(ids=ids, mask=[False] * (1 + prompt) + [True] * answer)


def pack(conversations: list[Rendered], **options) -> PackedConversations:
    options = {"pad_id": 0, "batch_size": 1, "seq_len": 16} | options
    return PackedConversations(Mixture([conversations], [1.0], seed=0), **options)


SIZES = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=30)


@given(SIZES, st.sampled_from([2, 8, 128]))
@settings(max_examples=100)
def test_conversations_are_whole_and_loss_is_on_their_answers_only(sizes, look_ahead):
    items = [conversation(number, *size) for number, size in enumerate(sizes, start=1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sft, "LOOK_AHEAD", look_ahead)
        source = pack(items, seq_len=25)
        drawn: list[int] = []
        for _ in range(30):
            batch = next(source)
            ids = batch.ids_BT[0].tolist()
            targets = batch.targets_BT[0].tolist()
            expected_ids: list[int] = []
            expected_targets: list[int] = []
            row_numbers = [-token for token in ids if token < 0]
            drawn += row_numbers
            for item in (items[number - 1] for number in row_numbers):
                expected_ids += item.ids
                expected_targets += [IGNORE] * item.mask.count(False) + item.ids[item.mask.index(True) :]
            missing = 26 - len(expected_ids)
            assert missing >= 0
            assert ids == (expected_ids + [0] * missing)[:25]
            assert targets == (expected_targets + [IGNORE] * missing)[1:]
        assert source.num_truncated == source.num_unusable == 0
        # None is lost or doubled: what came out and what waits is what the mixture drew.
        waiting = [draw[1] + 1 for draw in source.state_dict()["buffer"]]
        reference = Mixture([items], [1.0], seed=0)
        assert sorted(drawn + waiting) == sorted(
            reference.draw().item + 1 for _ in range(source.mixture.num_draws)
        )


def test_rows_are_well_filled():
    items = [conversation(number, number % 23, 1 + number % 17) for number in range(1, 400)]
    source = pack(items, seq_len=128, batch_size=100)
    filled = (next(source).ids_BT != 0).float().mean().item()
    assert filled > 0.98


def test_a_conversation_longer_than_a_row_is_cut_and_counted():
    items = [conversation(1, 3, 30)]
    source = pack(items, seq_len=16)
    batch = next(source)
    assert batch.ids_BT[0].tolist() == items[0].ids[:16]
    assert batch.targets_BT[0].tolist() == [IGNORE] * 3 + [2001] * 13
    assert source.num_truncated == source.mixture.num_draws


def test_one_without_an_answer_in_the_row_is_not_used():
    source = pack([conversation(1, 30, 5), conversation(2, 3, 5)], seq_len=16)
    numbers = {-int(next(source).ids_BT[0, 0]) for _ in range(10)}
    assert numbers == {2}
    assert source.num_unusable > 0
    assert source.num_truncated == 0
    with pytest.raises(UserError, match="raise --seq-len"):
        next(pack([conversation(1, 30, 5)], seq_len=16))


@given(st.integers(0, 12), st.integers(1, 3), st.sampled_from([2, 128]))
@settings(max_examples=30)
def test_a_restored_position_gives_the_identical_stream(num_before, batch_size, look_ahead):
    items = [conversation(number, number * 7 % 19, 1 + number * 5 % 23) for number in range(1, 60)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sft, "LOOK_AHEAD", look_ahead)
        source, restored = (pack(items, seq_len=20, batch_size=batch_size) for _ in range(2))
        for _ in range(num_before):
            next(source)
        next(restored)
        restored.load_state_dict(json.loads(json.dumps(source.state_dict())))
        for _ in range(8):
            left, right = next(source), next(restored)
            assert torch.equal(left.ids_BT, right.ids_BT)
            assert torch.equal(left.targets_BT, right.targets_BT)
        assert source.state_dict() == restored.state_dict()


def test_a_draw_that_fails_can_be_taken_back_without_the_file(tmp_path):
    path = write(tmp_path / "chat.jsonl", [row("question", "answer" * (n % 5 + 1)) for n in range(400)])
    source = PackedConversations(
        Mixture([Conversations(path, TOKENIZER)], [1.0], seed=0), pad_id=PAD, batch_size=2, seq_len=60
    )
    next(source)
    before, content = source.state_dict(), path.read_bytes()
    path.unlink()
    with pytest.raises(UserError, match="can not be read any more"):
        next(source)
    source.load_state_dict(before)
    assert source.state_dict() == before
    path.write_bytes(content)
    again = peek(source)
    source.load_state_dict(before)
    assert torch.equal(next(source).ids_BT, again.ids_BT)


def test_peeking_takes_nothing():
    def source() -> PackedConversations:
        items = [Rendered(ids=[n] * (2 + n % 5), mask=[False] + [True] * (1 + n % 5)) for n in range(40)]
        return PackedConversations(Mixture([items], [1.0], 0), pad_id=PAD, batch_size=2, seq_len=12)

    plain, peeked = source(), source()
    for _ in range(5):
        seen, again = peek(peeked), peek(peeked)
        taken, expected = next(peeked), next(plain)
        for batch in (seen, again, taken):
            assert torch.equal(batch.ids_BT, expected.ids_BT)
            assert torch.equal(batch.targets_BT, expected.targets_BT)
    assert peeked.state_dict() == plain.state_dict()


def test_real_conversations_end_to_end(tmp_path):
    path = write(tmp_path / "chat.jsonl", [row("hi", "yes"), row("ho", "no")])
    mixture = Mixture([Conversations(path, TOKENIZER)], [1.0], seed=0)
    batch = next(PackedConversations(mixture, pad_id=PAD, batch_size=2, seq_len=30))
    for targets in batch.targets_BT:
        learned = targets[targets != IGNORE].tolist()
        assert set(TOKENIZER.decode(learned).split("<|assistant_end|>")) <= {"yes", "no", ""}
        assert learned[-1] == ANSWER_END
    assert (batch.ids_BT == PAD).any()
