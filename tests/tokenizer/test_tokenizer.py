"""Text to ids and back: the golden cases, every Unicode string, text that spells specials, long repeats."""

import pickle
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picochat.errors import UserError
from picochat.tokenizer.special import SPECIAL_TOKENS
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.tokenizer.train import train_tokenizer

REPEATED = [
    "a",
    " ",
    "1",
    "😀",
    "e\u0301",
    "\u0301",
    "\n",
    "漢",
    "a\n",
    " \t",
    "\u2003",
    ".",
    "'s",
    "\r\n",
    "!\n",
]

TRICKY_TEXT = st.text(
    st.sampled_from(
        [*"aé漢😀1 \t\r\n'.<|>_sdmtSſK", "\u0301", "\u00a0", "\u2028", "\u088f", "\U00018cd6", "\x00"]
    ),
    max_size=40,
)


def test_encodes_as_the_rust_picochat(tokenizer, golden):
    for case in golden["encode"]:
        # The Rust one reads specials in text; here text never becomes one (tests below).
        if not any(special in case["text"] for special in SPECIAL_TOKENS):
            assert tokenizer.encode(case["text"]) == case["ids"], case["text"]


def test_decodes_as_the_rust_picochat(tokenizer, golden):
    for case in golden["decode"]:
        assert tokenizer.decode(case["ids"]) == case["text"]


@given(st.one_of(st.text(), TRICKY_TEXT))
def test_decode_undoes_encode(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert sum(tokenizer.num_bytes[id] for id in ids) == len(text.encode())
    assert b"".join(tokenizer.token_bytes(id) for id in ids) == text.encode()


@given(st.lists(st.one_of(st.sampled_from(SPECIAL_TOKENS), st.text(max_size=3))).map("".join))
def test_no_text_becomes_a_special(tokenizer, text):
    for ids in (tokenizer.encode(text), *tokenizer.encode_batch([text])):
        assert all(id < tokenizer.special["<|bos|>"] for id in ids)
        assert tokenizer.decode(ids) == text


def test_no_part_of_a_special_becomes_one(tokenizer):
    for special in SPECIAL_TOKENS:
        for at in range(len(special) + 1):
            head, tail = special[:at], special[at:]
            for text in (head, tail, f"{head} {tail}", f"{special}{head}", f"{tail}{special}", f"<|{head}"):
                ids = tokenizer.encode(text)
                assert not any(map(tokenizer.is_special, ids)), text
                assert tokenizer.decode(ids) == text


def test_specials_are_the_last_ids(tokenizer):
    assert list(tokenizer.special.values()) == list(range(tokenizer.vocab_size - 16, tokenizer.vocab_size))
    assert tokenizer.decode(tokenizer.special.values()) == "".join(SPECIAL_TOKENS)
    assert tokenizer.token_bytes(tokenizer.special["<|pad|>"]) == b"<|pad|>"
    assert tokenizer.num_bytes[-16:] == [0] * 16
    assert [tokenizer.is_special(id) for id in (0, tokenizer.vocab_size - 17, tokenizer.vocab_size - 16)] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\ud83d\ude00", "\ud800é"])
def test_lone_surrogates_become_replacement_characters(tokenizer, text):
    clean = "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
    assert tokenizer.encode(text) == tokenizer.encode(clean)
    assert tokenizer.encode_batch([text]) == [tokenizer.encode(clean)]
    assert tokenizer.decode(tokenizer.encode(text)) == clean
    assert train_tokenizer([text] * 9, 300).merges == train_tokenizer([clean] * 9, 300).merges


@pytest.fixture(scope="module")
def repeats_tokenizer() -> Tokenizer:
    """Knows long tokens of every repeated character."""
    return train_tokenizer([text * 2000 for text in REPEATED], 1000)


@pytest.mark.parametrize("character", REPEATED)
def test_long_repeats_take_no_quadratic_time(tokenizer, repeats_tokenizer, character):
    for each, tail in ((tokenizer, ""), (repeats_tokenizer, "x")):
        text = character * 200_000 + tail
        start = time.process_time()
        ids = each.encode(text)
        assert time.process_time() - start < 1.0
        assert each.decode(ids) == text


@pytest.mark.parametrize("id", [-1, 340])
def test_an_id_outside_of_the_vocabulary_is_named(tokenizer, id):
    with pytest.raises(ValueError, match=f"id {id} is outside"):
        tokenizer.decode([id])


@given(st.lists(st.integers(0, 339)))
def test_stream_gives_what_decode_gives(tokenizer, ids):
    stream = tokenizer.stream()
    assert "".join([*map(stream.push, ids), stream.flush()]) == tokenizer.decode(ids)


def test_stream_gives_an_emoji_once_and_whole(tokenizer):
    stream = tokenizer.stream()
    ids = tokenizer.encode("a😀b")
    assert [stream.push(id) for id in ids] == ["a", "", "", "", "😀", "b"]
    assert stream.flush() == ""


def test_stream_shows_a_broken_character_at_a_special_and_at_the_end(tokenizer):
    stream = tokenizer.stream()
    assert stream.push(0xF0) == ""
    assert stream.push(tokenizer.special["<|assistant_end|>"]) == "\ufffd<|assistant_end|>"
    assert stream.push(0xC3) == ""
    assert stream.flush() == "\ufffd"


def test_a_worker_process_gets_an_equal_tokenizer(tokenizer):
    copy = pickle.loads(pickle.dumps(tokenizer))  # noqa: S301
    assert copy.fingerprint == tokenizer.fingerprint
    assert copy.encode("The robots' 12345 screws") == tokenizer.encode("The robots' 12345 screws")


def test_fingerprint_knows_merges_size_and_pattern(golden):
    merges = golden["merges"]
    others = [(merges, 340, None), (merges[:-1], 340, None), (merges, 341, None), (merges, 340, r"\S+|\s+")]
    prints = {
        Tokenizer.from_merges(merges, size, *([pattern] if pattern else [])).fingerprint
        for merges, size, pattern in others
    }
    assert len(prints) == len(others)


@pytest.mark.parametrize(
    ("merges", "vocab_size", "reason"),
    [
        ([], 271, "out of range"),
        ([], 1 << 40, "out of range"),
        ([(97, 98)], 272, "room for 0"),
        ([(97, 256)], 300, "merge 0 joins ids 97 and 256"),
        ([(97, -1)], 300, "merge 0 joins"),
        ([(97, 98), (98, 99), (256, 99), (97, 257)], 300, r"merge 3 \(97, 257\) spells b'abc'"),
    ],
)
def test_merges_that_make_no_vocabulary(merges, vocab_size, reason):
    with pytest.raises(UserError, match=reason):
        Tokenizer.from_merges(merges, vocab_size)


def test_another_pattern_is_kept():
    tokenizer = Tokenizer.from_merges([(97, 32), (32, 98)], 300, r"\S+|\s+")
    assert tokenizer.encode("a b") == [97, 32, 98]
    assert Tokenizer.from_merges([(97, 32)], 300, r".+").encode("a b\ud800") == [256, 98, *"\ufffd".encode()]
    with pytest.raises(UserError, match="not a regular expression"):
        Tokenizer.from_merges([], 300, "(")
