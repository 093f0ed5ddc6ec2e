"""Wrapping: piece by piece gives what wrapping at once gives, and nothing is lost."""

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from workbench.visible import visible
from workbench.widgets.wrap import Piece, Wrapper

LONG = "averyveryverylongword"
WORDS = st.sampled_from([" the", "cat", "\n", "  ", "日本", LONG, " a", "e\u0301", "x\ny z", "\t"])


@given(st.lists(WORDS, max_size=60), st.integers(1, 25))
def test_wrapping_keeps_everything_within_the_width(words, width):
    wrapper = Wrapper(width)
    for index, word in enumerate(words):
        wrapper.add(Piece(word, "text", index))
    told = "".join(piece.text for line in wrapper.lines for piece in line)
    assert told == "".join(words).replace("\n", " ")
    for line in wrapper.lines:
        text = "".join(piece.text for piece in line).rstrip()
        # A character wider than the widget has to go somewhere.
        assert cell_len(text) <= max(width, 2)
    tokens = [piece.token for line in wrapper.lines for piece in line]
    assert tokens == sorted(tokens)


@given(st.lists(WORDS, max_size=40), st.integers(1, 20))
def test_earlier_lines_never_change(words, width):
    wrapper = Wrapper(width)
    before: list[list[Piece]] = []
    for index, word in enumerate(words):
        wrapper.add(Piece(word, "text", index))
        assert wrapper.lines[: len(before)] == before
        before = [list(line) for line in wrapper.lines[:-1]]


@given(st.lists(WORDS, max_size=40), st.integers(2, 20))
def test_line_breaks_of_the_text_are_told_from_ours(words, width):
    wrapper = Wrapper(width)
    for index, word in enumerate(words):
        wrapper.add(Piece(word, "text", index))
    assert len(wrapper.ended) == "".join(words).count("\n")


def test_control_characters_become_pictures():
    assert visible("a\x1b[31m\x00\x7f\u202eb\tc\n") == "a␛[31m␀␡\ufffdb    c\n"
