"""Two models problem by problem, one model over its steps, and the page that shows single problems."""

import pytest

from picochat.eval.compare import agreements, differences, labelled, score_rows, trends
from picochat.eval.examples import choose, examples_html, kind_of
from picochat.eval.intervals import wilson_interval
from picochat.eval.scores import Example, ModelScores, TaskScore, paired_difference


def example(number: int, credit: float, **more) -> Example:
    fields = {"question": f"question {number}", "gold": "7", "answer": f"answer {number}"}
    return Example(id=f"id{number}", level="easy", credit=credit, **{**fields, **more})


def score(*credits: float, task: str = "qa", num_samples: int = 1) -> TaskScore:
    examples = tuple(example(number, credit) for number, credit in enumerate(credits))
    return TaskScore(task=task, method="written", examples=examples, num_samples=num_samples)


def model(spec: str, **tasks: TaskScore) -> ModelScores:
    return ModelScores(name=spec, spec=spec, tasks=tasks)


def test_agreement_and_difference_on_what_both_were_asked():
    first = model("a", qa=score(1, 1, 0, 0, 1, 1), arc=score(1))
    second = model("b", qa=score(1, 0, 1, 0, 1))
    found = agreements(first, second)["qa"]
    assert (found.both, found.first_only, found.second_only, found.neither) == (2, 1, 1, 1)
    point = differences(first, second)["qa"]
    expected = paired_difference(score(1, 1, 0, 0, 1), score(1, 0, 1, 0, 1))
    assert (point.value, point.low, point.high) == (expected.value, *expected.interval)
    assert point.num_problems == 5
    assert differences(first, second).keys() == {"qa"}


def test_shares_of_answers_count_by_majority():
    first, second = (
        model("a", qa=score(0.25, 0.75, num_samples=4)),
        model("b", qa=score(0.5, 1, num_samples=4)),
    )
    found = agreements(first, second)["qa"]
    assert (found.both, found.first_only, found.second_only, found.neither) == (1, 0, 0, 1)


def test_trends_need_two_steps_of_a_run():
    models = [model("a@200", qa=score(1, 0)), model("a@100", qa=score(0, 0)), model("b@100", qa=score(1))]
    found = trends([*models, model("folder", qa=score(1))])
    assert found.keys() == {"a"}
    assert [(step, point.value) for step, point in found["a"]["qa"]] == [(100, 0), (200, 0.5)]
    assert (found["a"]["qa"][1][1].low, found["a"]["qa"][1][1].high) == wilson_interval(1, 2)


def test_rows_of_the_table():
    rows = score_rows([model("a", qa=score(1, 0)), model("b", qa=score(1))], with_ways=False)
    assert rows == [("qa (1 to 2 problems)", ["50.0 [9.5, 90.5]", "100.0 [20.7, 100.0]"])]


def test_pages_call_tasks_by_what_they_are():
    (found,) = labelled([model("a", qa=score(1, 0), own=score(1))])
    assert [row[0] for row in score_rows([found], with_ways=False)] == [
        "plain questions (2 problems)",
        "own (1 problems)",
    ]


@pytest.mark.parametrize(
    ("kind", "expected"), [("all", [0, 1, 2, 3]), ("right", [0]), ("wrong", [3]), ("changed", [1, 2])]
)
def test_problems_of_a_kind(kind, expected: list[int]):
    scores = [score(1, 1, 0, 0, 1), score(1, 0, 1, 0)]
    page = choose(scores, kind)
    assert (list(page.indices), page.total) == (expected, len(expected))


def test_pages_and_search():
    scores = [score(*[0] * 12)]
    assert choose(scores, "wrong", page=2, per_page=5).indices == (5, 6, 7, 8, 9)
    assert choose(scores, "wrong", page=3, per_page=5).indices == (10, 11)
    assert choose(scores, "wrong", page=4, per_page=5).indices == ()
    found = choose(scores, "all", containing="QUESTION 1")
    assert (found.indices, found.total) == ((1, 10, 11), 3)
    assert kind_of([example(0, 0.5)]) == "changed"


def test_a_problem_shows_every_way_to_an_answer():
    written = example(
        0,
        1,
        question="<b>2+2?",
        thinking="let me <think>",
        tool_calls=("2+2", "3+"),
        tool_results=("4",),
        extracted="4",
        finish_reason="length",
    )
    nothing = example(0, 0, answer="", extracted=None, finish_reason="stop")
    tasks = [{"qa": TaskScore(task="qa", method="written", examples=(one,))} for one in (written, nothing)]
    models = [ModelScores(name=f"<{i}>", spec=str(i), tasks=one) for i, one in enumerate(tasks)]
    page = examples_html(models, "qa", [0])
    assert "&lt;b&gt;2+2?" in page
    assert "let me &lt;think&gt;" in page
    assert "<code>2+2</code> → <code>4</code>" in page
    assert "<code>3+</code> → <code>(never closed)</code>" in page
    assert "taken as the answer: <b>4</b>; ended by length" in page
    assert "(nothing)" in page
    assert "no answer found<" in page
    assert page.index("answer good") < page.index("answer bad")


def test_choices_show_how_they_were_rated():
    rated = example(
        0, 0, gold="B. yes", answer="A. no", options=(("A. no", -1.0), ("B. yes", -2.0)), confidence=0.731
    )
    score = TaskScore(task="arc", method="letter", examples=(rated,))
    page = examples_html([model("m", arc=score)], "arc", [0])
    assert 'class="option chosen"><span>A. no</span>' in page
    assert 'class="option gold"><span>B. yes</span>' in page
    assert "width:73.1%" in page
    assert "width:26.9%" in page
    assert ">-2.00</span>" in page
    assert "sure by 73 %" in page
