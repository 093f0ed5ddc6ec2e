"""How text is cut into pieces before byte pairs are merged: a merge never reaches over a piece's edge."""

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import regex

# Contractions; a word with at most one sign or space before it; one or two digits; signs with a space before
# and line ends after; line ends; white space (its last character goes to the word that follows).
# The Rust picochat's pattern (GPT-4's with digits in ones and twos). Every character falls into some piece.
PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)

_SURROGATE = re.compile("[\ud800-\udfff]")


@cache
def splitter() -> "regex.Pattern[str]":
    """`PATTERN` compiled; `splitter().findall(text)` are the pieces of `text`."""
    import regex

    return regex.compile(PATTERN, regex.V0)


@cache
def kind_pattern() -> "regex.Pattern[str]":
    """What `PATTERN` takes one character for, as the name of the group that matches it."""
    import regex

    groups = (r"(?P<letter>\p{L})", r"(?P<number>\p{N})", r"(?P<line_end>[\r\n])", r"(?P<space>\s)")
    return regex.compile("|".join((*groups, r"(?P<other>.)")), regex.V0 | regex.DOTALL)


def replace_surrogates(text: str) -> str:
    """`text` with every lone surrogate, which UTF-8 can not spell, as U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text)
    return text
