"""Texts and numbers made fit for a terminal: control characters are shown, not obeyed."""

import re

UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Return `text` with every control character but line breaks and tabs replaced by a picture of it.

    >>> visible("a\\x1b[31mb")
    'a␛[31mb'
    """
    return pictures(text).replace("\t", "    ")


def pictures(text: str) -> str:
    """Return `text` with control characters replaced one by one: places in it stay what they were."""
    return UNSAFE.sub(_picture, text)


def number_text(value: float) -> str:
    """Return a number as short as it can be read; all digits of a whole one, as seeds have many.

    >>> number_text(0.30000000000000004), number_text(1234567890)
    ('0.3', '1234567890')
    """
    return str(value) if isinstance(value, int) else f"{value:g}"


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else "\N{REPLACEMENT CHARACTER}"
