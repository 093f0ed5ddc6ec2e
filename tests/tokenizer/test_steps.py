"""BPE step by step against the tokenizer itself: after every merge the ids are those of a smaller one."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from picochat.errors import UserError
from picochat.tokenizer.steps import bytes_per_token, count_joins, steps
from picochat.tokenizer.study import ancestry, differing, token_counts, unused_tokens
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.tokenizer.train import count_pieces, learn, train_tokenizer

TEXTS = ["the cat sat on the mat, the hat and that. " * 3, "aaaa aaa aa the theatre 1212 éé\n" * 2]
LESSON = learn(TEXTS, 340)
MERGES = [(merge.left, merge.right) for merge in LESSON.merges]


@pytest.mark.parametrize("text", [TEXTS[0], TEXTS[1], "attach the aaaaa", "", "🙂 é", "\ud800"])
def test_each_step_is_what_a_smaller_vocabulary_encodes(text: str):
    trail = steps(text, MERGES)
    known = 0
    for step in trail:
        stop = len(MERGES) if step.rank is None else step.rank
        for size in {known, stop}:
            smaller = Tokenizer.from_merges(MERGES[:size], 400)
            assert list(step.ids) == smaller.encode(text)
        known = stop + 1
    assert trail[-1].rank is None
    assert trail[-1].places == ()


def test_the_next_merge_is_shown_where_it_joins():
    for step, after in zip(steps(TEXTS[1], MERGES), steps(TEXTS[1], MERGES)[1:], strict=False):
        assert step.rank is not None
        assert step.places
        for place in step.places:
            assert step.ids[place : place + 2] == MERGES[step.rank]
        assert len(after.ids) == len(step.ids) - len(step.places)


@given(st.text("ab th1é\n", max_size=60))
def test_compression_at_every_size_is_that_of_the_smaller_tokenizer(text: str):
    counts = count_pieces([text, "the that"])
    num_bytes = sum(count * len(piece.encode()) for piece, count in counts.items())
    joins_M = count_joins(counts, MERGES)
    ratios = bytes_per_token(counts, MERGES)
    for size in (0, 1, len(MERGES) // 2, len(MERGES)):
        smaller = Tokenizer.from_merges(MERGES[:size], 400)
        num_tokens = sum(len(smaller.encode(part)) for part in (text, "the that"))
        assert num_bytes - joins_M[:size].sum() == num_tokens
        assert ratios[size] == pytest.approx(num_bytes / num_tokens)


def test_a_lesson_holds_every_smaller_vocabulary():
    assert (LESSON.documents, LESSON.characters) == (2, sum(map(len, TEXTS)))
    for size in (272, 290, 340, 500):
        tokenizer = LESSON.tokenizer(size)
        assert tokenizer.vocab_size == size
        assert tokenizer.merges == train_tokenizer(TEXTS, size).merges[: len(MERGES)]
    with pytest.raises(UserError, match="271 is out of range"):
        LESSON.tokenizer(271)
    with pytest.raises(UserError, match="out of range"):
        learn(TEXTS, 100)


def test_learning_tells_how_far_it_is():
    told: list[tuple[str, int, int | None]] = []
    text = " ".join(f"{first}{second}" for first in "abcdefghijkl" for second in "mnopqrstuvwx") * 2
    lesson = learn([text], 400, progress=lambda *news: told.append(news))
    assert len(lesson.merges) > 100
    assert told == [
        ("reading", len(text), None),
        ("merging", 64, 128),
        ("merging", 128, 128),
        ("merging", 128, 128),
    ]


def test_uses_and_unused_tokens():
    tokenizer = LESSON.tokenizer(340)
    counts = count_pieces(["the the cat", "zz"])
    uses_V = token_counts(tokenizer, counts)
    expected = Counter(tokenizer.encode("the the cat") + tokenizer.encode("zz"))
    assert {id: int(count) for id, count in enumerate(uses_V) if count} == dict(expected)
    unused = unused_tokens(tokenizer, uses_V)
    assert set(unused) == set(range(256, 256 + len(MERGES))) - set(expected)


def test_ancestry_goes_down_to_bytes():
    tokenizer = LESSON.tokenizer(340)
    longest = int(np.argmax(tokenizer.num_bytes))
    parts = ancestry(tokenizer, longest)
    children: dict[int | None, list[int]] = {}
    for index, part in enumerate(parts):
        children.setdefault(part.parent, []).append(index)
    assert children[None] == [0]
    for index, part in enumerate(parts):
        own = [parts[child].id for child in children.get(index, [])]
        assert own == ([] if part.id < 256 else list(tokenizer.merges[part.id - 256]))
        if own:
            assert b"".join(map(tokenizer.token_bytes, own)) == tokenizer.token_bytes(part.id)
    assert [part.id for part in ancestry(tokenizer, 65)] == [65]


def test_spans_that_differ():
    assert differing([2, 1, 3], [2, 2, 2]) == ([False, True, True], [False, True, True])
    assert differing([1, 2, 1], [1, 1, 1, 1]) == ([False, True, False], [False, True, True, False])
    assert differing([], []) == ([], [])
