"""What the figures and boxes of a tokenizer show."""

import doctest
import re

import numpy as np
import pytest

from picochat.plots import token_boxes as token_view
from picochat.plots.token_boxes import cases_html, describe, spans, tokens_html
from picochat.plots.vocabulary import (
    MAX_POINTS,
    ancestry_figure,
    compression_figure,
    frequency_figure,
    kinds_figure,
    length_figure,
)
from picochat.tokenizer.examples import HARD_CASES, KINDS
from picochat.tokenizer.study import ancestry
from picochat.tokenizer.tokenizer import Tokenizer

TOKENIZER = Tokenizer.from_merges([(ord("t"), ord("h")), (256, ord("e")), (32, 257)], 300)


def boxes(page: str) -> list[str]:
    return re.findall(r'<span class="pc-token.*?</span>', page, re.DOTALL)


def test_a_box_for_each_token_with_its_id_and_bytes():
    page = tokens_html(spans(TOKENIZER, TOKENIZER.encode("the the\n")), with_ids=True)
    assert [re.sub("<.*?>", "", box, flags=re.DOTALL) for box in boxes(page)] == ["the257", "·the258", "↵10"]
    assert 'data-tip="id 258\nbytes 20 74 68 65"' in boxes(page)[1]
    assert page.count("<br>") == 1, "a line of the text ends a line"
    same = [
        re.search('background:(.*?)"', box)[1] for box in boxes(tokens_html(spans(TOKENIZER, [257, 65, 257])))
    ]
    assert same[0] == same[2] != same[1]


def test_nothing_of_a_text_is_markup():
    page = tokens_html(spans(TOKENIZER, TOKENIZER.encode("<b>&\"'")))
    assert len(boxes(page)) == 6
    assert "<b>" not in page
    assert "&lt;" in page


def test_what_is_not_seen_is_shown_as_a_sign():
    assert doctest.testmod(token_view).failed == 0
    assert token_view.visible("\u0301".encode()) == "◌\u0301"
    assert token_view.visible(b"\t\x00") == "⇥⟨0000⟩"
    assert describe(5, "é".encode()).splitlines() == [
        "id 5",
        "bytes c3 a9",
        "U+00E9 LATIN SMALL LETTER E WITH ACUTE",
    ]


def test_parts_of_a_character_say_of_which():
    some = spans(TOKENIZER, TOKENIZER.encode("aé🙂b"))
    assert [span.partial for span in some] == ["", "é", "é", "🙂", "🙂", "🙂", "🙂", ""]
    page = tokens_html(some)
    assert page.count("a part of 🙂") == 4
    assert page.count("broken") == 6
    lone = spans(TOKENIZER, [0xC3, 65, 0x80])
    assert [span.partial for span in lone] == ["", "", ""]
    assert "a part of a character" in tokens_html(lone)


def test_specials_and_rings():
    bos = TOKENIZER.special["<|bos|>"]
    page = tokens_html(spans(TOKENIZER, [bos, 65, 66], ringed={1}))
    assert ["special" in box for box in boxes(page)] == [True, False, False]
    assert ["ring" in box for box in boxes(page)] == [False, True, False]
    assert "&lt;|bos|&gt;" in page
    typed = tokens_html(spans(TOKENIZER, TOKENIZER.encode("<|bos|>")))
    assert "special" not in typed


def test_hard_cases_show_text_tokens_and_reason():
    page = cases_html(TOKENIZER, HARD_CASES)
    assert page.count("<tr>") == len(HARD_CASES)
    for case in HARD_CASES:
        assert f"<b>{len(TOKENIZER.encode(case.text))}</b> for {len(case.text.encode())} bytes" in page


def test_kinds_of_text_are_long_enough_to_be_measured():
    assert all(len(text.encode()) > 80 for text in KINDS.values())
    assert {"prose", "code", "numbers", "other scripts"} <= KINDS.keys()


def test_compression_curves_and_the_marked_size():
    sizes = list(range(272, 2272))
    ratio_S = np.linspace(1, 4, 2000)
    figure = compression_figure(sizes, {"prose": ratio_S, "<code>": ratio_S / 2}, at=500)
    prose, code, mark = figure.data
    assert (prose.x[0], prose.x[-1], prose.y[0], prose.y[-1]) == (272, 2271, 1, 4)
    assert len(prose.x) <= MAX_POINTS
    assert code.name == "&lt;code&gt;"
    assert (list(mark.x), mark.name) == ([500, 500], "500 ids")
    assert {"xaxis", "yaxis"}.isdisjoint(figure.to_plotly_json()["layout"]), "zoom survives repaints"


def test_bars_per_kind_and_tokenizer():
    figure = kinds_figure({"a": {"prose": 3.0, "code": 2.0}, "b": {"prose": 2.5, "code": 1.0}})
    assert [(bar.name, list(bar.x), list(bar.y)) for bar in figure.data] == [
        ("a", [3.0, 2.0], ["prose", "code"]),
        ("b", [2.5, 1.0], ["prose", "code"]),
    ]


def test_frequencies_fall_and_name_their_tokens():
    uses_V = np.zeros(300, dtype=np.int64)
    uses_V[[258, 65, 66]] = 10, 30, 20
    (line,) = frequency_figure(TOKENIZER, uses_V).data
    assert (list(line.x), list(line.y)) == ([1, 2, 3], [30, 20, 10])
    assert [row[0] for row in line.customdata] == ["A", "B", "·the"]
    template = frequency_figure(TOKENIZER, uses_V).layout.template.layout
    assert (template.xaxis.type, template.yaxis.type) == ("log", "log")
    assert len(frequency_figure(TOKENIZER, np.zeros(300, dtype=np.int64)).data[0].x) == 0


def test_lengths_are_shares():
    uses_V = np.zeros(300, dtype=np.int64)
    uses_V[[258, 65]] = 1, 3
    own, used = length_figure(TOKENIZER, uses_V).data
    assert list(own.x) == [1, 2, 3, 4]
    assert list(own.y) == pytest.approx([100 * 256 / 259, 100 / 259, 100 / 259, 100 / 259], abs=1e-3)
    assert list(used.y) == [75, 0, 0, 25]


def test_ancestry_is_as_wide_as_its_bytes():
    (tree,) = ancestry_figure(TOKENIZER, ancestry(TOKENIZER, 258)).data
    assert list(tree.labels) == ["·the", "·", "the", "th", "e", "t", "h"]
    assert list(tree.parents) == ["", "0", "0", "2", "2", "3", "3"]
    assert list(tree.values) == [4, 1, 3, 2, 1, 1, 1]
