"""Reasoning measures on answers whose counts are known."""

import pytest

from picochat.eval.generative import PROMPT_TOO_LONG, Record, Sample, TaskResult
from picochat.eval.intervals import bootstrap_interval, wilson_interval
from picochat.eval.reasoning import corrects_itself, reasoning_measures


def sample(
    *, thinking: str = "", calls: int = 0, results: tuple[str, ...] = (), correct: bool = False, end="stop"
) -> Sample:
    return Sample(
        text="x",
        thinking=thinking,
        tool_calls=("1+1",) * calls,
        tool_results=results,
        extracted=None,
        correct=correct,
        finish_reason=end,
        num_tokens=3,
    )


def result(*groups: list[Sample], needs_tool: tuple[int, ...] = ()) -> TaskResult:
    records = [
        Record(id=str(i), level="", prompt=[], gold="", requires_tool=i in needs_tool, samples=tuple(some))
        for i, some in enumerate(groups)
    ]
    return TaskResult(task="tools", num_samples=len(groups[0]), records=tuple(records))


def test_one_answer_per_problem():
    measures = reasoning_measures(
        result(
            [sample(thinking="I add. Wait, I subtract.", calls=1, results=("2",), correct=True)],
            [sample(thinking="I add.", calls=2, results=("error: no", "4"), correct=True)],
            [sample(calls=1, end="length")],
            [sample(thinking="  \n", correct=True)],
            [sample(end=PROMPT_TOO_LONG)],
            needs_tool=(0, 2, 3),
        )
    )
    # The problem that was never asked says nothing.
    assert {name: (m.value, m.num_problems) for name, m in measures.items()} == {
        "think rate": (2 / 4, 4),
        "thinking length": (15.0, 2),
        "self-correction": (1 / 2, 2),
        "tool rate": (3 / 4, 4),
        "tool rate if needed": (pytest.approx(2 / 3), 3),
        "tool success": (pytest.approx((1 + 1 / 2 + 0) / 3), 3),
        "accuracy if thinking": (1.0, 2),
        "accuracy if not thinking": (1 / 2, 2),
        "finished": (3 / 4, 4),
    }
    assert measures["think rate"].interval == wilson_interval(2, 4)
    assert measures["tool success"].interval == bootstrap_interval([1, 0.5, 0])
    assert [name for name, m in measures.items() if not m.is_share] == ["thinking length"]


def test_several_answers_count_as_one_problem():
    measures = reasoning_measures(
        result(
            [sample(thinking="a"), sample(thinking="abc"), sample(), sample()],
            [sample(thinking="abcdef"), *[sample(thinking="no, b")] * 3],
        )
    )
    assert measures["think rate"].value == (0.5 + 1.0) / 2
    assert measures["think rate"].interval == bootstrap_interval([0.5, 1.0])
    assert measures["thinking length"].value == (2.0 + (6 + 3 * 5) / 4) / 2
    assert measures["self-correction"].value == (0 + 3 / 4) / 2
    assert {"tool success", "tool rate if needed"}.isdisjoint(measures)


@pytest.mark.parametrize(
    ("thought", "corrects"),
    [
        ("Wait, that is 5.", True),
        ("3+4=8. No, 7.", True),
        ("hmmm. 7", True),
        ("Let me recheck this.", True),
        ("I made an error.", True),
        ("That’s wrong", True),
        ("On second thought it is 3.", True),
        ("In the casino, I pay 3.", False),
        ("He waited. The waiter came.", False),
        ("There is no bread.", False),
        ("The actual price is 3.", False),
        ("Let me add 3.", False),
        ("", False),
    ],
)
def test_self_correction_is_found_by_whole_words(thought: str, corrects: bool):
    assert corrects_itself(thought) is corrects
