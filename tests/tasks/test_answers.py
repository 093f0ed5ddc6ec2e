"""Numbers, letters and words as answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picochat.tasks.answers import (
    chosen_letter,
    first_number,
    last_number,
    marked_number,
    marked_text,
    normalize_number,
    normalize_words,
    plain_answer,
    visible_text,
)

NUMBERS = [
    *[(form, "18") for form in ("18", "18.0", "18.", "$18", "18%", "+18", " 18 ", "018", "18.00", "$18.00.")],
    *[(form, "1800") for form in ("1800", "1,800", "$1,800", "1,800.00", "€1800", "£1,800.")],
    *[(form, "-5") for form in ("-5", "−5", "-$5", "$-5", "-5.0", "-5%")],
    *[(form, "0.5") for form in ("0.5", ".5", "0.50", "00.5", "$.50")],
    *[(form, "0") for form in ("0", "-0", "0.0", "-0.00")],
    ("12345678901234567890.10", "12345678901234567890.1"),
    ("109,200,000", "109200000"),
    *[(form, None) for form in ("", "abc", "1,800/100", "3/4", "1,80", "1,8000", "1.800,00", "1.2.3", "1e3")],
    *[
        (form, None)
        for form in ("18 apples", "18 or 19", "18 19", "--5", "-$-5", "١٨", "x18", "$", "%", ",5")
    ],
]


@pytest.mark.parametrize(("text", "number"), NUMBERS)
def test_normalize_number(text: str, number: str | None):
    assert normalize_number(text) == number


@given(st.integers(-(10**15), 10**15))
def test_every_way_to_write_an_integer_is_the_same(n: int):
    for form in (f"{n}", f"{n:,}", f"{n}.0", f"${n:,}.00", f"{n}."):
        assert normalize_number(form) == str(n)
    assert marked_number(f"so\n#### {n:,}\nmore 5") == str(n)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9))
def test_equal_decimals_are_equal_strings(d):
    first, second = normalize_number(format(d, "f")), normalize_number(format(d, "f") + "00")
    assert first == second
    assert first is not None
    assert float(first) == float(d)


FIRST = [
    ("18 dollars", "18"),
    ("The answer is $1,800.", "1800"),
    ("x = 8", "8"),
    ("18cm", "18"),
    ("-3 degrees", "-3"),
    ("2x3^4, 5^2", "2"),
    *[(text, None) for text in ("1,800/100", "1,800 / 100", "5 + 3 = 8", "18-20", "10:30", "1e5", "2^3")],
    *[(text, None) for text in ("3 * (4)", "18 = 18", "1,80 or 5", "none", "")],
]


@pytest.mark.parametrize(("text", "number"), FIRST)
def test_first_number(text: str, number: str | None):
    assert first_number(text) == number


def test_last_number():
    assert last_number("48/2 = 24 clips in May. So 48+24 = 72 clips.") == "72"
    assert last_number("It costs $5 and then 3 + 4") == "5"
    assert last_number("none") is None


def test_the_number_after_the_last_marker():
    assert marked_number("#### 5\nno, wait\n#### 6\n\nQ: what is 7?") == "6"
    assert marked_number("#### $1,234.00 in all") == "1234"
    assert marked_number("####\n12") == "12"
    assert marked_number("The answer is 12") is None
    assert marked_number("#### 12 ####") is None
    assert marked_number("#### twelve\n12") is None
    assert marked_number("#### 1 #### 2") == "2"
    assert marked_number("#### 1,800/100") is None


def test_thoughts_and_tool_text_are_not_visible():
    hidden = "<|think_start|>#### 1<|think_end|>"
    assert marked_number(f"#### 2{hidden}") == "2"
    assert marked_number(hidden) is None
    assert marked_number("#### 2 <|think_start|>never closed #### 3") == "2"
    assert (
        marked_number("<|tool_call_start|>1<|tool_call_end|><|tool_result_start|>#### 9<|tool_result_end|>")
        is None
    )
    assert visible_text("a<|think_start|>b<|tool_call_start|>c<|think_end|>d").split() == ["a", "d"]


LETTERS = [
    *[(text, "B") for text in ("The answer is B.", "B", "B.", "(B) because", " b. The answer: B", "**B**")],
    *[
        (text, "B")
        for text in ("Answer: B", "answer is (B)", "The answer is: B", "The correct answer is **B**.")
    ],
    *[
        (text, "B")
        for text in ("The answer is b.", "the answer is b", "The answer is A. No: the answer is B.")
    ],
    *[
        (text, None)
        for text in ("", "A dog barks", "It is B", "The answer is a dog", "The answer is Blue", "F")
    ],
    *[(text, None) for text in ("answerB", "The answer is 2", "<|think_start|>The answer is B.")],
]


@pytest.mark.parametrize(("text", "letter"), LETTERS)
def test_chosen_letter(text: str, letter: str | None):
    assert chosen_letter(text) == letter


def test_words():
    assert normalize_words("The Red, red BALL!") == ("red", "red", "ball")
    assert normalize_words("It's 1,800.5 m — ＡＢ") == ("its", "1800.5", "m", "ab")
    assert normalize_words("the a an") == ()
    assert plain_answer(' "BANANA". ') == "BANANA"
    assert marked_text("x\n####  two words \nrest") == "two words"
    assert marked_text("####   ") is None


@given(st.text(max_size=200))
def test_any_text_is_judged(text: str):
    for judge in (normalize_number, first_number, last_number, marked_number, marked_text, chosen_letter):
        answer = judge(text)
        assert answer is None or isinstance(answer, str)
    normalize_words(text)
