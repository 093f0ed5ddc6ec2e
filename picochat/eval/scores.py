"""Scores of models on tasks in one form, whatever way they were measured, for tables and reports."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from picochat.errors import UserError
from picochat.eval.generative import TaskResult
from picochat.eval.intervals import Interval, bootstrap_interval, paired_interval, wilson_interval
from picochat.eval.multiple_choice import ChoiceRecord, ChoiceResult
from picochat.eval.reasoning import Measure, reasoning_measures
from picochat.tasks.multiple_choice import LETTERS


@dataclass(frozen=True, kw_only=True)
class Example:
    """One problem and how a model did."""

    id: str
    level: str
    question: str
    gold: str
    answer: str
    """What the model said (its first answer) or chose."""
    thinking: str = ""
    credit: float
    """Share of right answers, 0 to 1."""
    confidence: float | None = None
    """Of multiple choice by likelihood: see `ChoiceRecord.confidence`."""
    options: tuple[tuple[str, float], ...] = ()
    """Of multiple choice by likelihood: each choice as it is shown and its log-probability in nats."""
    extracted: str | None = None
    """The answer that was found in what the model said, if any."""
    tool_calls: tuple[str, ...] = ()
    tool_results: tuple[str, ...] = ()
    finish_reason: str = ""
    """Why a written answer ended, see `Sample.finish_reason`."""


@dataclass(frozen=True, kw_only=True)
class TaskScore:
    """How a model did on a task."""

    task: str
    method: str
    """letter, text (multiple choice by likelihood) or written."""
    examples: tuple[Example, ...]
    num_samples: int = 1
    """Answers per problem."""
    chance: float | None = None
    """What guessing would score, where that is known."""
    num_too_long: int = 0
    """Problems that do not fit the model's context and so count as wrong."""
    pass_at_k: dict[int, float] = field(default_factory=dict)
    reasoning: dict[str, Measure] = field(default_factory=dict)
    """See `reasoning_measures`; empty where nothing was written."""

    @property
    def value(self) -> float:
        return fmean(self.credits)

    @property
    def credits(self) -> list[float]:
        return [example.credit for example in self.examples]

    @property
    def interval(self) -> Interval:
        """95 %: Wilson's, or over problems if each has several answers."""
        return self._interval(self.credits)

    @property
    def by_level(self) -> dict[str, Measure]:
        """The score on each `Problem.level`, sorted by name."""
        levels: dict[str, list[float]] = {}
        for example in self.examples:
            levels.setdefault(example.level, []).append(example.credit)
        return {
            level: Measure(value=fmean(some), interval=self._interval(some), num_problems=len(some))
            for level, some in sorted(levels.items())
        }

    def _interval(self, credits: Sequence[float]) -> Interval:
        if self.num_samples == 1:
            return wilson_interval(sum(credits), len(credits))
        return bootstrap_interval(credits)


@dataclass(frozen=True, kw_only=True)
class ModelScores:
    """What one model scored."""

    name: str
    """Short and unlike the others' names."""
    spec: str
    """As it was given to --load."""
    tasks: dict[str, TaskScore]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The second of two models less the first, on the same problems."""

    value: float
    interval: Interval
    """95 %, paired (see `paired_interval`)."""
    better: tuple[int, ...]
    """Indices of the problems that the second does better."""
    worse: tuple[int, ...]


def paired_difference(first: TaskScore, second: TaskScore) -> Difference:
    """Return by how much `second` is better than `first`, problem by problem."""
    assert [example.id for example in first.examples] == [example.id for example in second.examples]
    a, b = first.credits, second.credits
    return Difference(
        value=second.value - first.value,
        interval=paired_interval(a, b),
        better=tuple(i for i in range(len(a)) if b[i] > a[i]),
        worse=tuple(i for i in range(len(a)) if b[i] < a[i]),
    )


def score_choices(result: ChoiceResult) -> TaskScore:
    """Return the common form of an evaluation by likelihood."""
    return TaskScore(
        task=result.task,
        method=result.scoring,
        examples=tuple(map(_choice_example, result.records)),
        chance=result.chance,
        num_too_long=result.num_too_long,
    )


def score_answers(result: TaskResult) -> TaskScore:
    """Return the common form of an evaluation by writing."""
    examples = tuple(
        Example(
            id=record.id,
            level=record.level,
            question=_text(record.prompt[-1]["content"]),
            gold=record.gold,
            answer=record.samples[0].text,
            thinking=record.samples[0].thinking,
            credit=record.num_correct / result.num_samples,
            extracted=record.samples[0].extracted,
            tool_calls=record.samples[0].tool_calls,
            tool_results=record.samples[0].tool_results,
            finish_reason=record.samples[0].finish_reason,
        )
        for record in result.records
    )
    return TaskScore(
        task=result.task,
        method="written",
        examples=examples,
        num_samples=result.num_samples,
        num_too_long=result.num_too_long,
        pass_at_k=result.pass_at_k if result.num_samples > 1 else {},
        reasoning=reasoning_measures(result),
    )


def short_names(specs: Sequence[str]) -> list[str]:
    """Return the last parts of the paths or names, longer ones where those are equal.

    Raises:
        UserError: two specs are the same.

    >>> short_names(["runs/a", "runs/b@500", "old/a"])
    ['runs/a', 'b@500', 'old/a']
    """
    parts = [tuple(part for part in spec.replace("\\", "/").split("/") if part) for spec in specs]
    names = []
    for index, own in enumerate(parts):
        others = parts[:index] + parts[index + 1 :]
        if own in others:
            raise UserError(f"--load names {specs[index]} twice; a comparison needs different models")
        length = 1
        while length < len(own) and any(own[-length:] == other[-length:] for other in others):
            length += 1
        names.append("/".join(own[-length:]))
    return names


def _choice_example(record: ChoiceRecord) -> Example:
    def shown(letter: str) -> str:
        return f"{letter}. {record.choices[LETTERS.index(letter)]}"

    return Example(
        id=record.id,
        level=record.level,
        question=_text(record.prompt[-1]["content"]),
        gold=shown(record.gold),
        answer="(prompt too long)" if record.chosen is None else shown(record.chosen),
        credit=record.credit,
        confidence=None if record.chosen is None else record.confidence,
        # A prompt that is too long has no likelihoods.
        options=tuple(
            (shown(letter), logprob) for letter, logprob in zip(LETTERS, record.logprobs, strict=False)
        ),
        extracted=record.chosen,
    )


def _text(content: str | list[dict[str, str]]) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
