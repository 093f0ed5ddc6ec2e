"""Answers as HTML: nothing that a text says becomes markup, and marks say what they should."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picochat.plots.answers import (
    Cell,
    Judged,
    Pair,
    group_html,
    legend_html,
    parts_html,
    side_by_side_html,
)
from picochat.plots.style import transparent
from picochat.plots.tokens import COLD, WARM


class Reader(HTMLParser):
    """Collects the text and the tags of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


TEXTS = st.text(st.sampled_from("ab <>&\"'/=script\n;"), min_size=1, max_size=12)


@given(TEXTS, TEXTS, TEXTS)
def test_whatever_answers_say_is_text(question: str, answer: str, gold: str):
    cell = Cell(
        parts=[{"type": kind, "text": answer} for kind in ("text", "thinking", "tool_call")], note=answer
    )
    page = Reader(
        side_by_side_html([Pair(question=question, before=cell, now=cell, gold=gold)], before="a", now="b")
    )
    assert page.text.count(answer.strip()) >= 8
    assert set(page.tags) == {"div", "table", "thead", "tr", "th", "tbody", "td", "span", "col"}


@pytest.mark.parametrize(
    ("before", "now", "flip"),
    [(True, True, "same"), (False, True, "better"), (True, False, "worse"), (None, None, "same")],
)
def test_flips(before, now, flip):
    pair = Pair(question="q", before=Cell(parts="x", is_right=before), now=Cell(parts="y", is_right=now))
    assert pair.flip == flip
    text = Reader(side_by_side_html([pair], before="base", now="step 5")).text
    assert ("now right" in text, "now wrong" in text) == (flip == "better", flip == "worse")
    assert text.count("✓") == [before, now].count(True)


@pytest.mark.parametrize("parts", ["", []])
def test_an_empty_answer_is_said_to_be_empty(parts):
    assert Reader(parts_html(parts)).text == "(nothing)"


def test_results_of_tools_are_told_from_calls():
    page = parts_html([{"type": "tool_call", "text": "2+2"}, {"type": "tool_result", "text": "4"}])
    assert Reader(page).text == "2+2= 4"
    assert len(set(re.findall(r"background:(rgba[^\"]*)", page))) == 2


def test_colours_let_the_page_through():
    assert transparent("#0072B2", 0.5) == "rgba(0,114,178,0.50)"
    assert transparent("#0072B2", 3) == "rgba(0,114,178,1.00)"
    assert "transparent" in legend_html({"<none>": (None, 1)})
    assert "&lt;none&gt;" in legend_html({"<none>": (None, 1)})


def judged(advantage: float, **rewards: float) -> Judged:
    return Judged(
        parts="<b>",
        is_right=advantage > 0,
        rewards=rewards,
        reward=sum(rewards.values()),
        advantage=advantage,
    )


def test_a_group_is_shown_with_its_rewards_and_advantages():
    group = [judged(1.5, accuracy=1, format=0.25), judged(-0.75, accuracy=0), judged(0.0, accuracy=0)]
    page = group_html("1 < 2?", "<i>", group, chosen=1)
    read = Reader(page)
    assert read.text.startswith("1 < 2?\nright answer: <i>")
    cells = [row.split("</td>")[:-1] for row in page.split("<tbody>")[1].split("</tr>")[:-1]]
    texts = [[Reader(cell).text for cell in row] for row in cells]
    assert texts == [
        ["1 ✓", "<b>", "1.00", "0.25", "1.25", "+1.50"],
        ["2 ✗", "<b>", "0.00", "", "0.00", "-0.75"],
        ["3 ✗", "<b>", "0.00", "", "0.00", "+0.00"],
    ]
    backs = [re.search(r"background:(rgba[^\"]*)", row[-1])[1] for row in cells]
    assert backs == [
        transparent(WARM, 0.45),
        transparent(COLD, 0.225),
        transparent(COLD, 0),
    ]
    assert [("transparent" in row[0]) for row in cells] == [True, False, True]
