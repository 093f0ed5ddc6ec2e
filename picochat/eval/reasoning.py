"""How a model gets to its answers: whether it thinks, corrects itself, calls its tool with success."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from picochat.eval.generative import PROMPT_TOO_LONG, Record, Sample, TaskResult
from picochat.eval.intervals import Interval, bootstrap_interval, wilson_interval
from picochat.tools.expression import ERROR_PREFIX

_CORRECTION = re.compile(
    r"\b(?:wait|actually|hmm+|oops|on second thought|scratch that|correction|no,|not quite"
    r"|let me (?:re\w+|check|try again|start over)|that(?:'|’| i)?s (?:wrong|not right)"
    r"|i (?:made|make) (?:a|an) (?:error|mistake))(?!\w)",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A mean over problems with its 95 % interval."""

    value: float
    interval: Interval
    num_problems: int
    """Problems that had something to measure."""
    is_share: bool = True
    """Between 0 and 1, to be shown in percent."""


def reasoning_measures(result: TaskResult) -> dict[str, Measure]:
    """Return what the answers of `result` show, by name. What nothing can be said of is left out.

    think rate           share of answers with a thought
    thinking length      characters of a thought (of answers that think)
    self-correction      share of thoughts that take something back ("wait", "no,", "let me recheck", ...)
    tool rate            share of answers that call the calculator
    tool rate if needed  the same for problems that require it
    tool success         share of calls that the calculator answered with a value; a call that was never
                         closed is a failure
    accuracy if thinking, accuracy if not thinking
    finished             share of answers that the model ended by itself

    Each problem counts once: with several answers its share is counted, and the interval is over problems.
    """
    measures = {
        "think rate": _rate(result.records, lambda s: bool(s.thinking.strip())),
        "thinking length": _mean(
            _per_problem(result.records, lambda s: len(s.thinking), _thinks), is_share=False
        ),
        "self-correction": _rate(result.records, lambda s: corrects_itself(s.thinking), _thinks),
        "tool rate": _rate(result.records, lambda s: bool(s.tool_calls)),
        "tool rate if needed": _rate(
            [record for record in result.records if record.requires_tool], lambda s: bool(s.tool_calls)
        ),
        "tool success": _share(
            [[ok for s in record.samples for ok in call_successes(s)] for record in result.records]
        ),
        "accuracy if thinking": _rate(result.records, lambda s: s.correct, _thinks),
        "accuracy if not thinking": _rate(result.records, lambda s: s.correct, lambda s: not _thinks(s)),
        "finished": _rate(result.records, lambda s: s.finish_reason in ("stop", "stop_string")),
    }
    return {name: measure for name, measure in measures.items() if measure is not None}


def corrects_itself(thinking: str) -> bool:
    """Return whether a thought takes something back. Whole words count: "casino, I" corrects nothing."""
    return _CORRECTION.search(thinking) is not None


def call_successes(sample: Sample) -> list[bool]:
    """Return for each tool call of an answer whether it got a value.

    Results belong to the calls in order; calls without one were never closed.
    """
    worked = [not result.startswith(ERROR_PREFIX) for result in sample.tool_results]
    return worked + [False] * (len(sample.tool_calls) - len(worked))


def _thinks(sample: Sample) -> bool:
    return bool(sample.thinking.strip())


def _per_problem(
    records: Iterable[Record],
    value: Callable[[Sample], float],
    counts: Callable[[Sample], bool] = lambda sample: True,
) -> list[list[float]]:
    """Return the values of each problem's answers; of those that were asked and that `counts` takes."""
    return [
        [
            float(value(sample))
            for sample in record.samples
            if sample.finish_reason != PROMPT_TOO_LONG and counts(sample)
        ]
        for record in records
    ]


def _rate(
    records: Sequence[Record],
    value: Callable[[Sample], bool],
    counts: Callable[[Sample], bool] = lambda sample: True,
) -> Measure | None:
    return _share(_per_problem(records, value, counts))


def _share(values: Iterable[Sequence[float]]) -> Measure | None:
    """Return the mean share over the problems that have values."""
    some = [list(row) for row in values if row]
    if some and all(len(row) == 1 for row in some):
        num_right = sum(row[0] for row in some)
        interval = wilson_interval(num_right, len(some))
        return Measure(value=num_right / len(some), interval=interval, num_problems=len(some))
    return _mean(some)


def _mean(values: Iterable[Sequence[float]], *, is_share: bool = True) -> Measure | None:
    means = [fmean(row) for row in values if row]
    if not means:
        return None
    interval = bootstrap_interval(means)
    return Measure(value=fmean(means), interval=interval, num_problems=len(means), is_share=is_share)
