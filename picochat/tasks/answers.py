"""What a text answers: numbers, letters and words in one form, so that equal answers are equal strings.

One definition for rewards and for evaluation. Thoughts, tool calls and tool results are no part of an answer.
"""

import re
import unicodedata

# A block that is never closed hides all that follows it; a block can not hold another of its kind.
_HIDDEN = re.compile(r"<\|(think|tool_call|tool_result)_start\|>.*?(?:<\|\1_end\|>|\Z)", re.DOTALL)

# Digits, points and commas as they stand, with a sign and a currency sign before them: judged afterwards.
_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-−+])?[$£€¥]?(?P<inner_sign>[-−+])?(?P<digits>[.,]?[0-9](?:[0-9.,]*[0-9])?)"
)
_WELL_FORMED = re.compile(r"(?P<whole>[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)?(?:\.(?P<decimals>[0-9]+))?")
# `18/3`, `18 - 20`, `1e5`, `10:30`, `5 = 5`: the number is only a piece of something else.
_GOES_ON = re.compile(r"[ \t]*[-−+*/^=:×÷%][ \t]*[-−+$£€¥(.]*[0-9]|[eE][-+]?[0-9]")
_COMES_FROM = re.compile(r"[0-9)][ \t]*[-−+*/^:×÷][ \t]*[$£€¥(]*\Z")

_LETTER = re.compile(
    r"\b(?i:answer)(?:[ \t]+is\b|[ \t]*:)[ \t]*:?[ \t]*[*(\"']*(?:([A-E])\b|([a-e])(?=[.):*]|\s*\Z))"
)
_LETTER_FIRST = re.compile(r"\s*[*(]*([A-E])(?:[.):*]|\s*\Z)")
_MARKER = "####"

_WORD = re.compile(r"[0-9]+(?:[.,][0-9]+)*|\w+")
_ARTICLES = frozenset(("a", "an", "the"))


def visible_text(text: str) -> str:
    """Return `text` without its thoughts, tool calls and tool results.

    An engine has already left them out of `Completion.text`; this is for texts that still spell the tags.
    """
    return _HIDDEN.sub(" ", text)


def normalize_number(text: str) -> str | None:
    """Return the number that `text` is, in its one form, or None if it is not exactly one number.

    18, 18.0, $18, "18.", 18% and +18 are all "18"; 1,800 is "1800"; .50 is "0.5"; -0 is "0". Not a number:
    "1,80" (commas apart from thousands), "1,800/100", "3/4", "1e3", "18 or 19", "18 apples".
    """
    text = text.strip().rstrip(".").rstrip("%").rstrip()
    match = _NUMBER.match(text)
    return _canonical(match) if match and match.end() == len(text) else None


def first_number(text: str) -> str | None:
    """Return the first number of `text` in the form of `normalize_number`, words around it left aside.

    None if there is none, or if the first is malformed or a piece of an expression: "1,800/100", "3 + 4".
    """
    match = _NUMBER.search(text)
    return None if match is None else _complete(match, text)


def last_number(text: str) -> str | None:
    """Return the last number of `text` that is no piece of an expression, or None."""
    numbers = [_complete(match, text) for match in _NUMBER.finditer(text)]
    return next((number for number in reversed(numbers) if number is not None), None)


def marked_text(text: str) -> str | None:
    """Return the rest of the line after the last `####` of the visible text, or None without one."""
    _, marker, answer = visible_text(text).rpartition(_MARKER)
    if not marker or not answer.strip():
        return None
    return answer.strip().splitlines()[0].strip()


def marked_number(text: str) -> str | None:
    """Return the number after the last `####` of the visible text, or None."""
    answer = marked_text(text)
    return None if answer is None else first_number(answer)


def chosen_letter(text: str) -> str | None:
    """Return the letter A to E that the visible text chooses, or None.

    The last "answer is B" or "Answer: B" counts; without one, a letter that the text begins with ("B", "B.",
    "(B) because"). A capital letter anywhere else is a word, not a choice.
    """
    visible = visible_text(text)
    letters = _LETTER.findall(visible)
    if letters:
        capital, small = letters[-1]
        return capital or small.upper()
    first = _LETTER_FIRST.match(visible)
    return first.group(1) if first else None


def plain_answer(text: str) -> str:
    """Return a literal answer without what may stand around it: spaces, quotes, a full stop. Case matters."""
    return text.strip().removesuffix(".").strip().strip("\"'`").strip()


def normalize_words(text: str) -> tuple[str, ...]:
    """Return the words of `text` without case, punctuation and articles (NFKC); 1,800 is 1800."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("'", "").replace("’", "")
    words = (word.replace(",", "") for word in _WORD.findall(text))
    return tuple(word for word in words if word not in _ARTICLES)


def _complete(match: re.Match[str], text: str) -> str | None:
    if _GOES_ON.match(text, match.end()) or _COMES_FROM.search(text, 0, match.start("digits")):
        return None
    return _canonical(match)


def _canonical(match: re.Match[str]) -> str | None:
    number = _WELL_FORMED.fullmatch(match["digits"])
    if number is None or (match["sign"] and match["inner_sign"]):
        return None
    # Done on the digits: a float or a decimal context would round long numbers to the same value.
    whole = (number["whole"] or "").replace(",", "").lstrip("0") or "0"
    decimals = (number["decimals"] or "").rstrip("0")
    value = f"{whole}.{decimals}" if decimals else whole
    negative = (match["sign"] or match["inner_sign"]) in ("-", "−")
    return f"-{value}" if negative and value != "0" else value
