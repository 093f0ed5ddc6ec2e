"""Coloured tokens: what is shown is the text, whatever it holds."""

import html
import math
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picochat.plots.tokens import Piece, background, pieces_of, token_html
from picochat.tokenizer.tokenizer import Tokenizer


class Reader(HTMLParser):
    """Collects what a browser would show of the pieces, and every tag and attribute that it would obey."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: list[str] = []
        self.titles: list[str | None] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "span":
            self.titles.append(dict(attrs).get("title"))
            self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self.texts:
            self.texts[-1] += data


def read(source: str) -> Reader:
    reader = Reader()
    reader.feed(source)
    reader.close()
    return reader


NASTY = [
    '<script>alert("x")</script>',
    "<b>",
    "&lt;",
    "' onmouseover='x",
    '" onmouseover="x',
    "</span>",
    "a\n",
]


@given(st.lists(st.one_of(st.text(max_size=20), st.sampled_from(NASTY)), min_size=1, max_size=8))
def test_text_is_shown_and_not_obeyed(texts: list[str]):
    texts = [re.sub("[\r\0\ud800-\udfff]", "", text) for text in texts]
    reader = read(token_html([Piece(text=text, value=0.5, hover=text) for text in texts]))
    assert reader.texts == texts
    assert reader.titles == [text or None for text in texts]
    assert reader.tags <= {"div", "span", "br", "wbr"}
    assert reader.attributes <= {"class", "style", "title"}


def test_titles_and_legends_are_text_too():
    source = token_html([Piece(text="a")], title="<i>x</i>", legend="a < b")
    assert "<i>" not in source
    assert html.escape("a < b") in source


def test_colours_follow_the_values():
    def opacity(value: float) -> float:
        return float(background(value, 0.0, 8.0).rstrip(")").split(",")[-1])

    strengths = [opacity(value) for value in (0, 2, 4, 8, 80)]
    assert strengths == sorted(strengths)
    assert strengths[0] == 0
    assert strengths[-1] == strengths[-2] == 0.6
    assert opacity(-4) == opacity(4)
    assert background(-4, 0, 8) != background(4, 0, 8)
    assert background(math.nan, 0, 8) == "transparent"


def test_the_scale_is_shown_with_its_ends():
    plain = token_html([Piece(text="a", value=1.0)], high=8, legend="bits")
    assert "bits: 0<" in plain
    assert plain.endswith("8</div></div>")
    assert "−8" in token_html([Piece(text="a", value=-1.0)], high=8, legend="bits")
    assert "linear-gradient" not in token_html([Piece(text="a", value=1.0)])


@pytest.mark.parametrize("text", ["two words\n", "日本", "😀", "a<b>&c", "\x1b[31m"])
def test_pieces_are_the_tokens(text: str):
    tokenizer = Tokenizer.from_merges([], 272)
    ids = [tokenizer.special["<|bos|>"], *tokenizer.encode(text)]
    bos, *pieces = pieces_of(tokenizer, ids)
    assert (bos.is_special, bos.text, bos.hover) == (True, "<|bos|>", "token 0\nid 256\nspecial token")
    assert len(pieces) == len(text.encode())
    assert not any(piece.is_special for piece in pieces)
    assert [piece.hover.split()[-1] for piece in pieces] == [f"{byte:02x}" for byte in text.encode()]
    assert all(piece.text.isprintable() and " " not in piece.text for piece in pieces)
    assert [piece.breaks for piece in pieces] == [char == "\n" for char in text.encode().decode("latin-1")]
