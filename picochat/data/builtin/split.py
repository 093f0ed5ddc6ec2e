"""Which numbers and which (name, object) pairs belong to the test: a fixed rule, so no list can leak.

A pair of numbers counts without order. No training text, the pretraining text included, ever combines a test
pair with an operator, and none brings a person and a test object together. To prove it,
`tests/data/builtin/test_held_out.py` reads every file.
"""

import hashlib
import re
from functools import cache

NUMBER_PAIR = re.compile(r"(?=(?<!\d)(\d+) ?(?:\+|-|\*|//|/|%) ?(\d+))")


def _belongs_to_test(key: str, one_in: int) -> bool:
    # A hash, not a rule such as (a + b) % 6: the split must not teach anything about the answer.
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:4], "big") % one_in == 0


@cache
def is_test_pair(a: int, b: int) -> bool:
    """One unordered pair of numbers in six is kept for the test."""
    return _belongs_to_test(f"pair {min(a, b)} {max(a, b)}", 6)


@cache
def is_test_combination(name: str, thing: str) -> bool:
    """One (name, object) pair in five is kept for the test; `thing` is the plural."""
    return _belongs_to_test(f"combination {name} {thing}", 5)


@cache
def is_test_spelling(word: str, letter: str) -> bool:
    """One (word, letter) counting question in five is kept for the test; letter "" asks for the length."""
    return _belongs_to_test(f"spelling {word} {letter}", 5)


def number_pairs(text: str) -> list[tuple[int, int]]:
    """Every two neighbours around an operator in `text`: `44+18-25` has (44, 18) and (18, 25)."""
    return [(int(a), int(b)) for a, b in NUMBER_PAIR.findall(text)]
