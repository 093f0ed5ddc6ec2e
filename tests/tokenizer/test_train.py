"""The merges that training finds, against the rule written down naively."""

import random
import time
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picochat.errors import UserError
from picochat.tokenizer import train
from picochat.tokenizer.pieces import splitter
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.tokenizer.train import count_pieces, learn_merges, train_tokenizer


def merges_by_the_rule(text: str, num_merges: int) -> list[tuple[int, int, int]]:
    """Count everything anew each round: the most frequent pair, then the smallest; (left, right, count)."""
    words = [list(piece.encode()) for piece in splitter().findall(text)]
    merges = []
    for new_id in range(256, 256 + num_merges):
        pairs = Counter(pair for word in words for pair in pairwise(word))
        if not pairs:
            break
        (left, right), count = min(pairs.items(), key=lambda item: (-item[1], item[0]))
        if count < 2:
            break
        merges.append((left, right, count))
        for word in words:
            i = 0
            while i < len(word) - 1:
                if (word[i], word[i + 1]) == (left, right):
                    word[i : i + 2] = [new_id]
                i += 1
    return merges


def learned(texts: list[str], num_merges: int) -> list[tuple[int, int, int]]:
    return [(m.left, m.right, m.count) for m in learn_merges(count_pieces(texts), num_merges)]


def test_trains_as_the_rust_picochat(golden):
    tokenizer = train_tokenizer([golden["train_text"]], golden["vocab_size"])
    assert [list(merge) for merge in tokenizer.merges] == golden["merges"]


def test_stops_early_as_the_rust_picochat(golden, tmp_path):
    case = golden["early_stop"]
    tokenizer = train_tokenizer([case["train_text"]], case["vocab_size"])
    assert [list(merge) for merge in tokenizer.merges] == case["merges"]
    assert tokenizer.encode(case["train_text"]) == case["ids"]
    assert tokenizer.vocab_size == case["vocab_size"]
    assert tokenizer.special["<|bos|>"] == case["bos_id"]
    # The ids between the last merge and the specials mean nothing, here and in the file.
    assert tokenizer.decode(range(258, 384)) == ""
    assert set(tokenizer.num_bytes[258:]) == {0}
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).vocab_size == case["vocab_size"]


@given(st.text("ab1 \n", max_size=80))
@settings(max_examples=200)
def test_learns_by_the_rule_in_texts_full_of_ties_and_repeats(text):
    assert learned([text], 30) == merges_by_the_rule(text, 30)


def test_learns_by_the_rule_in_words():
    rng = random.Random(3)
    syllables = ["ba", "na", "an", "aa", "é", "漢", "ll", "'s", "12", "!!"]
    text = " ".join("".join(rng.choices(syllables, k=rng.randrange(1, 6))) for _ in range(600))
    merges = learned([text], 300)
    assert len(merges) > 100
    assert merges == merges_by_the_rule(text, 300)


def test_the_split_of_the_input_into_texts_does_not_matter():
    lines = ["the cat sat\n", "on the mat\n", "the end\n"]
    assert learned(lines, 20) == learned(["".join(lines)], 20)


def test_a_special_in_the_training_text_is_text():
    tokenizer = train_tokenizer(["<|bos|>" * 20], 300)
    assert tokenizer.special["<|bos|>"] not in tokenizer.encode("<|bos|>")


def test_the_stream_is_read_once_and_reported():
    reports = []
    texts = (text for text in ["abc " * 100_000] * 3)
    train_tokenizer(texts, 280, progress=lambda *report: reports.append(report))
    assert reports[0] == ("reading", 400_000, None)
    assert reports[2] == ("reading", 1_200_000, None)
    assert reports[-1] == ("merging", 8, 8)


def test_rare_pieces_are_forgotten_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(train, "MAX_DISTINCT_PIECES", 8)
    counts = count_pieces(["a" * n for n in range(1, 30)] + ["often"] * 50 + ["b" * n for n in range(1, 30)])
    assert len(counts) <= 8
    assert counts["often"] == 50


def test_a_vocabulary_needs_room_for_bytes_and_specials():
    with pytest.raises(UserError, match="272"):
        train_tokenizer(["abc"], 271)
    assert train_tokenizer(["abc" * 9], 272).merges == []
    assert train_tokenizer([], 300).merges == []


def test_one_long_piece_takes_no_quadratic_time():
    start = time.process_time()
    train_tokenizer(["a" * 300_000, "ab" * 100_000, " " * 300_000], 400)
    assert time.process_time() - start < 3.0
