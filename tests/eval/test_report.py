"""The report: one file without network, no markup from models or data, the numbers are the scores."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from picochat.eval import report
from picochat.eval.intervals import Interval, wilson_interval
from picochat.eval.reasoning import Measure
from picochat.eval.report import html_report
from picochat.eval.scores import Example, ModelScores, TaskScore
from picochat.plots.style import PALETTE
from picochat.train.run_dir import RunDir

EVIL = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'


def model(name: str, arc: list[float], qa: list[float], text: str = "said") -> ModelScores:
    def examples(credits: list[float], confident: bool) -> tuple[Example, ...]:
        return tuple(
            Example(
                id=f"id{i}",
                level="even" if i % 2 == 0 else "odd",
                question=f"question {i} {text}",
                gold=f"gold {i}",
                answer=f"answer {i} {text}",
                credit=credit,
                confidence=0.25 + 0.1 * i if confident else None,
            )
            for i, credit in enumerate(credits)
        )

    think = {"think rate": Measure(value=0.5, interval=Interval(0.25, 0.75), num_problems=4)}
    tasks = {
        "arc": TaskScore(task="arc", method="letter", examples=examples(arc, True), chance=0.25),
        "qa": TaskScore(task="qa", method="written", examples=examples(qa, False), reasoning=think),
    }
    return ModelScores(name=name, spec=f"runs/{name}", tasks=tasks)


class Page(HTMLParser):
    """Collects tags with their attributes, and the rows of the examples with their text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[tuple[str, str]] = []
        self.labels: list[str] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr" and dict(attrs).get("class"):
            self.rows.append((dict(attrs)["class"] or "", ""))
        self._open.append(tag)
        if tag == "label":
            self.labels.append("")

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if "td" in self._open and self.rows:
            kind, text = self.rows[-1]
            self.rows[-1] = (kind, text + data)
        if "label" in self._open:
            self.labels[-1] += data


def figures(page: str) -> list[list[dict]]:
    """Return the traces of each figure of the page, read out of the calls that draw them."""
    found = []
    for call in re.finditer(r'Plotly\.newPlot\(\s*"[-\w]+",\s*(?=\[)', page):
        traces, _ = json.JSONDecoder().raw_decode(page, call.end())
        found.append(traces)
        for trace in traces:
            for axis in ("x", "y"):
                if isinstance(trace[axis], dict):
                    data = base64.b64decode(trace[axis]["bdata"])
                    trace[axis] = np.frombuffer(data, trace[axis]["dtype"]).tolist()
    return found


@pytest.fixture(scope="module")
def two() -> list[ModelScores]:
    return [model("old", [1, 0, 1, 0], [0, 0, 1, 1]), model("new", [1, 1, 0, 0], [0, 0, 1, 0.5])]


def test_the_page_needs_nothing_else(two: list[ModelScores]):
    text = html_report(two, {})
    page = Page(text)
    assert not [tag for tag in page.tags if tag[0] in ("link", "iframe", "img", "object", "embed")]
    assert not [attrs for _, attrs in page.tags if "src" in attrs or "href" in attrs]
    assert text.count("plotly.js v") == 1
    assert text.count('meta charset="utf-8"') == 1


def test_nothing_from_models_or_data_is_markup():
    evil = [model(EVIL, [1, 0], [1, 0], EVIL), model("b", [1, 1], [1, 0], EVIL)]
    text = html_report(evil, {}, title=EVIL)
    plain = html_report([model("a", [1, 0], [1, 0]), model("b", [1, 1], [1, 0])], {})
    assert "<script>alert" not in text
    assert [tag for tag, _ in Page(text).tags] == [tag for tag, _ in Page(plain).tags]
    assert not [attrs for _, attrs in Page(text).tags if any(name.startswith("on") for name in attrs)]
    names = [trace.get("name", "") for traces in figures(text) for trace in traces]
    assert any("alert(1)" in name for name in names)
    assert not any("<" in name for name in names)


def test_figures_hold_the_scores(two: list[ModelScores]):
    scores, levels_arc, levels_qa, calibration = figures(html_report(two, {}))
    old, new, chance = scores
    assert (old["name"], new["name"], chance["name"]) == ("old", "new", "chance")
    assert (old["x"], new["x"]) == ([50, 50], [50, 37.5])
    low, high = wilson_interval(2, 4)
    assert old["error_x"]["arrayminus"][0] == pytest.approx(100 * (0.5 - low))
    assert old["error_x"]["array"][0] == pytest.approx(100 * (high - 0.5))
    assert [trace["x"] for trace in levels_arc] == [[100, 0], [50, 50]]
    assert [trace["x"] for trace in levels_qa] == [[50, 50], [50, 25]]
    assert [len(trace["x"]) for trace in calibration] == [2, 4, 4]
    assert calibration[1]["y"] == [100, 0, 100, 0]


def test_examples_are_sorted_into_right_wrong_and_different(two: list[ModelScores]):
    page = Page(html_report(two, {}))
    kinds = "right differs differs wrong wrong wrong right differs"
    assert [kind for kind, _ in page.rows] == kinds.split()
    assert all(f"question {i % 4}" in text for i, (_, text) in enumerate(page.rows))
    assert "✓ answer 0 said" in page.rows[0][1]
    assert "50 %" in page.rows[7][1]
    assert page.labels[:4] == ["all (4)", "right (1)", "wrong (1)", "models differ (2)"]
    alone = Page(html_report(two[:1], {}))
    assert alone.labels == ["all (4)", "right (2)", "wrong (2)"] * 2


def test_long_tables_keep_what_differs(two: list[ModelScores], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(report, "EXAMPLES_PER_TASK", 3)
    text = html_report(two, {})
    assert [kind for kind, _ in Page(text).rows][:3] == ["right", "differs", "differs"]
    assert "shows 3 of 4 problems" in text


def test_curves_of_runs(two: list[ModelScores], tmp_path: Path):
    rows = [{"event": "step", "step": i, "loss": 9.0 - i} for i in range(1, 4)]
    rows += [{"event": "eval", "step": 3, "metrics": {"bpb": 1.5}}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    text = html_report(two, {"new": RunDir(tmp_path)})
    loss, bpb = figures(text)[-2:]
    assert (loss[0]["x"], loss[0]["y"], loss[0]["name"]) == ([1, 2, 3], [8, 7, 6], "new")
    assert loss[0]["line"]["color"] == PALETTE[1], "a model has one colour in all figures"
    assert (bpb[0]["x"], bpb[0]["y"]) == ([3], [1.5])


def test_table_names_the_difference(two: list[ModelScores]):
    text = html_report(two, {})
    row = re.search(r"<tr><td>arc</td>.*?</tr>", text)
    assert row is not None
    cells = re.findall(r"<td>(.*?)</td>", row[0])
    assert cells[:4] == ["arc", "4", "letter", "50.0 [15.0, 85.0]"]
    assert cells[5].startswith("+0.0 [-")
    assert cells[6:] == ["1", "1"]
    assert "qa: think rate" in text
