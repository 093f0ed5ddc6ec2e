"""The compiled loops cut as `regex` and encode as `tokenizers`, whatever the text."""

import random
from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picochat.tokenizer import piece_table, train
from picochat.tokenizer.bulk import CutsDiffer
from picochat.tokenizer.formats import build_huggingface
from picochat.tokenizer.piece_table import PieceCounter
from picochat.tokenizer.pieces import splitter
from picochat.tokenizer.tokenizer import Tokenizer

SIGNS = [
    *" \t\n\r\x0b\x1c\x85\u00a0\u2028'.,!<|>_09²½aZéßſKİ漢字😀👩\u200d\u0301",
    *["It's", "I'LL", "we've", "'Re", "Kelvin", "K's", "long", "ſ'ſ", "don’t", "o'd", "'m't''s"],
    "x" * 70,
]
signs = st.lists(st.sampled_from(SIGNS), max_size=30).map("".join)


def counted(texts: list[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    counter = PieceCounter()
    counter.add([text.encode() for text in texts], counts)
    counter.flush(counts)
    return counts


def by_regex(texts: list[str]) -> Counter[str]:
    return Counter(piece for text in texts for piece in splitter().findall(text))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | signs, max_size=5))
def test_pieces_are_those_of_the_pattern(texts):
    assert counted(texts) == by_regex(texts)


def test_pieces_of_many_signs_are_those_of_the_pattern():
    rng = random.Random(1)
    texts = ["".join(rng.choices(SIGNS, k=rng.randrange(30))) for _ in range(3000)]
    assert counted(texts) == by_regex(texts)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | signs, max_size=5))
def test_ids_are_those_of_the_tokenizer(tokenizer, texts):
    ids, lengths = tokenizer.encode_documents([text.encode() for text in texts])
    encoded = tokenizer.encode_batch(texts)
    assert lengths.tolist() == [len(each) for each in encoded]
    assert ids.tolist() == list(chain(*encoded))


def test_ids_of_a_large_vocabulary_are_those_of_the_definition(golden):
    words = [f"{a}{b}{c}" for a in "bdfgkl" for b in ("a", "ee", "oo", "ß") for c in ("nd", "rst", "漢字")]
    rng = random.Random(2)
    texts = [golden["train_text"], *(" ".join(rng.choices(words, k=200)) for _ in range(100))]
    tokenizer = train.train_tokenizer(texts, 2048)
    definition = build_huggingface(tokenizer.vocabulary)
    ids, _ = tokenizer.encode_documents([text.encode() for text in texts])
    assert ids.tolist() == [id for text in texts for id in definition.encode(text).ids]


def test_a_full_table_begins_anew(tokenizer, monkeypatch):
    monkeypatch.setattr(piece_table, "MAX_PIECES", 16)
    texts = [" ".join(f"{letter}{sign}" for letter in "abcdefgh" for sign in "!?.,")] * 2
    assert counted(texts) == by_regex(texts)
    copy = Tokenizer(tokenizer.vocabulary)
    ids, _ = copy.encode_documents([text.encode() for text in texts])
    assert ids.tolist() == list(chain(*copy.encode_batch(texts)))


def test_a_table_without_room_for_ids_begins_anew(tokenizer, monkeypatch):
    monkeypatch.setattr(piece_table, "MAX_IDS", 200)
    copy = Tokenizer(tokenizer.vocabulary)
    text = " ".join(f"word{i}" for i in range(500))
    ids, _ = copy.encode_documents([text.encode()])
    assert ids.tolist() == copy.encode(text)


def test_where_the_libraries_cut_differently_the_definition_decides(tokenizer, monkeypatch):
    copy = Tokenizer(tokenizer.vocabulary)
    checked = []

    def check(char: str) -> None:
        checked.append(char)
        if char == "漢":
            raise CutsDiffer(char)

    monkeypatch.setattr(copy._cache, "check_character", check)
    texts = ["plain", "x漢é", "é again"]
    for _ in range(2):
        ids, lengths = copy.encode_documents([text.encode() for text in texts])
        assert ids.tolist() == list(chain(*tokenizer.encode_batch(texts)))
        assert lengths.tolist() == [len(ids) for ids in tokenizer.encode_batch(texts)]
    assert checked.count("漢") > 1  # it is never taken for known


def test_another_pattern_goes_to_the_definition():
    other = Tokenizer.from_merges([(97, 98)], 273, r"\w+|\W+")
    ids, lengths = other.encode_documents([b"ab ab!", b"", b"cab"])
    assert ids.tolist() == [*other.encode("ab ab!"), *other.encode("cab")]
    assert lengths.tolist() == [len(other.encode("ab ab!")), 0, len(other.encode("cab"))]


def test_much_text_is_counted_by_the_loops_with_the_same_result(monkeypatch, golden):
    texts = [golden["train_text"], "lone \ud800 surrogate", "it's", "", "x" * 100] * 20
    seen = []
    expected = train.count_pieces(texts)
    monkeypatch.setattr(train, "_REGEX_CHARACTERS", 1000)
    monkeypatch.setattr(train, "_BATCH_CHARACTERS", 500)
    assert train.count_pieces(texts, progress=lambda what, done, of: seen.append(done)) == expected
    assert seen[-1] == sum(map(len, texts))


@pytest.mark.parametrize("most", [50, 5])
def test_rare_pieces_are_forgotten_there_too(monkeypatch, most):
    monkeypatch.setattr(train, "_REGEX_CHARACTERS", 10)
    monkeypatch.setattr(train, "_BATCH_CHARACTERS", 100)
    monkeypatch.setattr(train, "MAX_DISTINCT_PIECES", most)
    monkeypatch.setattr(piece_table, "MAX_PIECES", 16)
    counts = train.count_pieces([f"often w{'x' * i} often" for i in range(200)])
    assert counts["often"] == 200
    assert len(counts) <= most + 16 * 2
