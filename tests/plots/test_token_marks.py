"""Which tokens are coloured, and how strongly."""

from picochat.plots.token_marks import (
    KL,
    LEARNED,
    LEAST_LIMIT,
    LOSS,
    MOST_LIMIT,
    conversation_marks,
    kl_marks,
    plain_marks,
    ratio_limit,
    ratio_marks,
    token_text,
)
from picochat.tokenizer.tokenizer import Tokenizer

TOKENIZER = Tokenizer.from_merges([], 272)
END = TOKENIZER.special["<|assistant_end|>"]
IDS = [*b"hi", END]


def test_learned_tokens_are_coloured():
    marks = conversation_marks(TOKENIZER, IDS, [False, True, True])
    assert [mark.text for mark in marks] == ["h", "i", "<|assistant_end|>"]
    assert [mark.color for mark in marks] == [None, LEARNED, LEARNED]
    assert [mark.is_pale for mark in marks] == [True, False, False]
    assert [mark.is_special for mark in marks] == [False, False, True]
    assert [mark.hint for mark in marks[:2]] == ["token 104, only read", "token 105, learned"]


def test_losses_are_shown_where_they_count():
    marks = conversation_marks(TOKENIZER, IDS, [False, True, True], [9.0, 2.0, 9.0])
    assert [(mark.color, mark.strength) for mark in marks] == [(None, 1.0), (LOSS, 0.5), (LOSS, 1.0)]
    assert marks[1].hint == "token 105, learned, loss 2.00"


def test_ratios_are_two_sided():
    marks = ratio_marks(TOKENIZER, IDS, [1.2, 1 / 1.2, None], limit=1.44)
    assert marks[0].color != marks[1].color
    assert [round(mark.strength, 9) for mark in marks[:2]] == [0.5, 0.5]
    assert (marks[2].color, marks[2].is_forced) == (None, True)
    assert marks[0].hint == "token 104, chosen by the model, 1.200 times as likely as when it was drawn"
    assert marks[2].hint == f"token {END}, put there by the engine"


def test_the_scale_of_ratios_follows_the_farthest():
    assert ratio_limit([1.0, 0.8, None]) == 1.25
    assert ratio_limit([None]) == ratio_limit([1.001]) == LEAST_LIMIT
    assert ratio_limit([0.01]) == MOST_LIMIT


def test_amounts_are_one_sided():
    marks = kl_marks(TOKENIZER, IDS, [0.0, 0.25, None])
    assert [(mark.color, mark.strength) for mark in marks] == [(KL, 0.0), (KL, 0.5), (None, 0.0)]
    assert marks[1].hint.endswith("divergence 0.250")


def test_without_a_quantity_only_the_origin_is_told():
    marks = plain_marks(TOKENIZER, IDS, [False, False, True])
    assert [mark.color for mark in marks] == [None] * 3
    assert [mark.is_forced for mark in marks] == [False, False, True]


def test_parts_of_characters_are_spelled_out():
    assert [token_text(TOKENIZER, id) for id in "é".encode()] == ["\\xc3", "\\xa9"]
