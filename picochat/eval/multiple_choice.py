"""Multiple choice by likelihood: no text is written, the model is asked how likely it finds each choice.

The question is a user's turn that shows the choices, as in picochat.tasks.multiple_choice. Two scorings:

letter  the assistant's turn "The answer is B." up to the letter; the likeliest letter is chosen
text    the text of a choice as the assistant's turn; log-likelihood per UTF-8 byte, so that a choice does not
        win by being short
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from picochat.eval.intervals import Interval, wilson_interval
from picochat.eval.likelihood import Alternatives, log_likelihoods
from picochat.model.gpt import GPT
from picochat.tasks.multiple_choice import LETTERS, choice_solution
from picochat.tasks.task import Problem
from picochat.tokenizer.conversation import messages_to_json, render_prompt
from picochat.tokenizer.tokenizer import Tokenizer

Scoring = Literal["letter", "text"]
_SAME = 1e-9
"""Scores this close are equal: what is left of sums in another order."""


@dataclass(frozen=True, kw_only=True)
class ChoiceRecord:
    """One problem and what the model makes of its choices."""

    id: str
    level: str
    prompt: list[dict[str, Any]]
    """The conversation that was asked, in the form of chat data."""
    choices: tuple[str, ...]
    gold: str
    """Letter of the right choice."""
    chosen: str | None
    """Letter of the choice that scores highest, the first of equal ones; None if the prompt is too long."""
    confidence: float
    """Softmax of the scores at the chosen one: what a calibrated model is right with (letter scoring)."""
    credit: float
    """1 if the right choice alone scores highest, 1/n if n choices with it do, else 0. A model to which all
    choices are equal so gets the score of chance, wherever the right ones stand."""
    logprobs: tuple[float, ...]
    """Of each choice, in nats; empty if the prompt does not fit the context."""
    scores: tuple[float, ...]
    """What is compared: `logprobs`, or for text scoring `logprobs` per byte."""


@dataclass(frozen=True, kw_only=True)
class ChoiceResult:
    """What an evaluation found."""

    task: str
    scoring: Scoring
    records: tuple[ChoiceRecord, ...]

    @property
    def accuracy(self) -> float:
        """Share of right choices."""
        return fmean(record.credit for record in self.records)

    @property
    def interval(self) -> Interval:
        """95 % interval of the accuracy (Wilson's)."""
        return wilson_interval(sum(record.credit for record in self.records), len(self.records))

    @property
    def chance(self) -> float:
        """What guessing would score."""
        return fmean(1 / len(record.choices) for record in self.records)

    @property
    def num_too_long(self) -> int:
        """Problems that were not asked, since they do not fit the context; they count as wrong."""
        return sum(record.chosen is None for record in self.records)


def evaluate_choices(
    model: GPT,
    tokenizer: Tokenizer,
    problems: Sequence[Problem],
    *,
    scoring: Scoring = "letter",
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> ChoiceResult:
    """Return which choices `model` finds likeliest.

    batch_size: rows at a time; it changes nothing but speed and memory. progress: called with (done, all).
    """
    assert problems
    requests = choice_requests(tokenizer, problems, scoring)
    context = model.config.sequence_len
    fitting = [i for i, request in enumerate(requests) if request.num_positions <= context]
    logprobs: list[tuple[float, ...]] = [()] * len(problems)
    for i, likelihoods in zip(
        fitting,
        log_likelihoods(model, [requests[i] for i in fitting], batch_size=batch_size, progress=progress),
        strict=True,
    ):
        logprobs[i] = tuple(likelihood.logprob for likelihood in likelihoods)
    records = (_record(problem, some, scoring) for problem, some in zip(problems, logprobs, strict=True))
    return ChoiceResult(task=problems[0].task, scoring=scoring, records=tuple(records))


def choice_requests(
    tokenizer: Tokenizer, problems: Sequence[Problem], scoring: Scoring
) -> list[Alternatives]:
    """Return what is scored: the prompt of each problem and a continuation for each of its choices."""
    requests = []
    common, letters = letter_ids(tokenizer)
    for problem in problems:
        prompt = render_prompt(tokenizer, problem.messages)
        if scoring == "letter":
            prompt += common
            continuations = letters[: len(problem.choices)]
        else:
            continuations = [tuple(tokenizer.encode(choice)) for choice in problem.choices]
        requests.append(Alternatives(context=tuple(prompt), continuations=tuple(continuations)))
    return requests


def letter_ids(tokenizer: Tokenizer) -> tuple[list[int], list[tuple[int, ...]]]:
    """Return the ids that the answers "The answer is A." to E begin with, and the ids of each letter.

    They are cut out of the whole answer as the model was taught it, where the letter and the space before it
    are often one token. What follows the letter is the same for all and left out.
    """
    answers = [tokenizer.encode(choice_solution(letter)) for letter in LETTERS]
    start = _num_common(answers)
    stop = _num_common([answer[start:][::-1] for answer in answers])
    return answers[0][:start], [tuple(answer[start : len(answer) - stop]) for answer in answers]


def write_choice_records(path: Path, result: ChoiceResult) -> None:
    """Write one JSON line per problem: prompt, choices, gold and how likely each choice is."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record in result.records:
            row = {"task": result.task, "scoring": result.scoring, **asdict(record)}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _num_common(rows: Sequence[Sequence[int]]) -> int:
    """Return how many ids all rows begin with."""
    count = 0
    while all(len(row) > count and row[count] == rows[0][count] for row in rows):
        count += 1
    return count


def _record(problem: Problem, logprobs: tuple[float, ...], scoring: Scoring) -> ChoiceRecord:
    if scoring == "text":
        num_bytes = [len(choice.encode()) for choice in problem.choices]
        scores = tuple(logprob / n for logprob, n in zip(logprobs, num_bytes, strict=False))
    else:
        scores = logprobs
    best = [i for i, score in enumerate(scores) if score >= max(scores) - _SAME]
    weights = [math.exp(score - max(scores)) for score in scores]
    return ChoiceRecord(
        id=problem.id,
        level=problem.level,
        prompt=messages_to_json(problem.messages),
        choices=problem.choices,
        gold=problem.answer,
        chosen=LETTERS[best[0]] if best else None,
        confidence=max(weights) / sum(weights) if best else 0.0,
        credit=1 / len(best) if LETTERS.index(problem.answer) in best else 0.0,
        logprobs=logprobs,
        scores=scores,
    )
