"""The cached path gives the ids of `tokenizers`, which defines them."""

import random

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as HuggingFaceTokenizer

from picochat.tokenizer import bulk
from picochat.tokenizer.formats import build_huggingface
from picochat.tokenizer.pieces import splitter
from picochat.tokenizer.tokenizer import Tokenizer

CONTRACTIONS = "It's I'LL we've 'Re Kelvin K's long ſ'ſ don’t o'd 'm't''s"


@pytest.fixture(scope="session")
def definition(tokenizer) -> HuggingFaceTokenizer:
    return build_huggingface(tokenizer.vocabulary)


@given(st.text())
def test_equals_the_definition_on_any_text(tokenizer, definition, text):
    assert tokenizer.encode(text) == definition.encode(text).ids


def test_equals_the_definition_on_prose_and_signs(tokenizer, definition, golden):
    rng = random.Random(1)
    alphabet = [
        *" \t\n\r\x0b\x1c\x85\u00a0\u2028'.,!<|>_09²½aZéßſKİ漢字😀👩\u200d\u0301",
        *CONTRACTIONS.split(),
    ]
    texts = [golden["train_text"], CONTRACTIONS, "", " ", "  x", "\n \n"]
    texts += ["".join(rng.choices(alphabet, k=rng.randrange(30))) for _ in range(3000)]
    assert tokenizer.encode_batch(texts) == [encoding.ids for encoding in definition.encode_batch(texts)]


def test_letters_of_newer_unicode_go_to_the_definition(tokenizer, definition):
    # Letters that one library's Unicode tables may know and the other's may not.
    for code in (0x088F, 0x0C5C, 0xA7CE, 0x10940, 0x187F8, 0x323B0):
        text = f"word{chr(code)}{chr(code)} {chr(code)}1\n"
        assert tokenizer.encode(text) == definition.encode(text).ids


def test_a_character_that_the_libraries_cut_differently_is_noticed():
    cache = bulk.PieceCache(lambda piece: [len(piece)], lambda text: regex.findall("[a-zé]+|.", text))
    with pytest.raises(bulk.CutsDiffer):
        cache.encode("x漢")


def test_the_cache_is_bounded(tokenizer, monkeypatch):
    monkeypatch.setattr(bulk, "MAX_PIECES", 10)
    copy = Tokenizer(tokenizer.vocabulary)
    text = " ".join(f"{letter}{sign}" for letter in "abcdefgh" for sign in "!?.,")
    assert copy.encode(text) == tokenizer.encode(text)
    assert copy._cache is not None
    assert 0 < len(copy._cache) <= 10
    copy.encode("z" * 1000)
    assert "z" * 1000 not in copy._cache


@pytest.mark.slow
def test_every_character_is_cut_as_the_definition_cuts_it(tokenizer, definition):
    for first in range(0, 0x110000, 0x100):
        codes = [code for code in range(first, first + 0x100) if not 0xD800 <= code <= 0xDFFF]
        for code in codes:
            text = f"'{chr(code)}!x{chr(code)}1{chr(code)}  {chr(code)} \n"
            assert tokenizer.encode(text) == definition.encode(text).ids, hex(code)


def test_pieces_cover_the_text():
    rng = random.Random(2)
    for _ in range(200):
        text = "".join(
            chr(rng.choice([rng.randrange(0xD800), rng.randrange(0x10000, 0x110000)])) for _ in range(50)
        )
        assert "".join(splitter().findall(text)) == text
