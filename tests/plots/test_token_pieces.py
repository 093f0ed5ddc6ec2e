"""Which tokens are coloured, and how strongly."""

import math

from picochat.plots.token_pieces import (
    LEARNED,
    LEAST_CHANGE,
    MOST_CHANGE,
    answer_pieces,
    conversation_pieces,
    say_change,
    scale_of_changes,
)
from picochat.tokenizer.tokenizer import Tokenizer

TOKENIZER = Tokenizer.from_merges([], 272)
END = TOKENIZER.special["<|assistant_end|>"]
IDS = [*b"hi", END]


def test_learned_tokens_are_coloured():
    pieces = conversation_pieces(TOKENIZER, IDS, [False, True, True])
    assert [piece.text for piece in pieces] == ["h", "i", "<|assistant_end|>"]
    assert [piece.series for piece in pieces] == [None, LEARNED, LEARNED]
    assert [piece.value for piece in pieces] == [None] * 3
    assert [piece.is_special for piece in pieces] == [False, False, True]
    assert [piece.hover.splitlines()[0] for piece in pieces] == ["only read", "learned", "learned"]


def test_losses_are_shown_where_they_count():
    pieces = conversation_pieces(TOKENIZER, IDS, [False, True, True], [9.0, 2.0, 0.5])
    assert [piece.value for piece in pieces] == [None, 2.0, 0.5]
    assert [piece.series for piece in pieces] == [None] * 3
    assert pieces[1].hover.splitlines()[:2] == ["loss 2.00", "learned"]


def test_what_the_engine_put_there_has_no_value():
    pieces = answer_pieces(TOKENIZER, IDS, [0.1, -0.1, None], say_change)
    assert [piece.value for piece in pieces] == [0.1, -0.1, None]
    assert [piece.is_marked for piece in pieces] == [False, False, True]
    assert [piece.hover.splitlines()[0] for piece in pieces] == [
        "1.11 times as likely as when it was drawn",
        "0.90 times as likely as when it was drawn",
        "put there by the calculator",
    ]


def test_the_scale_of_changes_follows_the_largest():
    assert scale_of_changes([0.0, -0.25, None, 0.1]) == 0.25
    assert scale_of_changes([None]) == scale_of_changes([0.001]) == LEAST_CHANGE
    assert scale_of_changes([math.log(0.01)]) == MOST_CHANGE
