"""Scores by writing: the model answers each problem in the chat format, with its calculator, and is judged.

The tasks of `picochat.tasks` say what is right; thoughts and tool text do not count as an answer.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol

from picochat.eval.intervals import Interval, bootstrap_interval, wilson_interval
from picochat.tasks.task import Problem, Task
from picochat.tokenizer.conversation import messages_to_json, render_prompt
from picochat.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    from picochat.engine.events import Completion
    from picochat.engine.options import SamplingOptions

PROMPT_TOO_LONG = "prompt too long"


class Answering(Protocol):
    """What is asked of an engine here."""

    tokenizer: Tokenizer
    context: int

    def generate_batch(
        self, prompts: Sequence[Sequence[int]], options: "SamplingOptions", num_samples: int
    ) -> "list[list[Completion]]": ...


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One answer and what was made of it."""

    text: str
    """What the user sees; the only thing that is judged."""
    thinking: str
    tool_calls: tuple[str, ...]
    tool_results: tuple[str, ...]
    extracted: str | None
    """The answer found in the text, None if there is none."""
    correct: bool
    finish_reason: str
    """The engine's, or "prompt too long": then there was no answer, which is wrong."""
    num_tokens: int


@dataclass(frozen=True, kw_only=True)
class Record:
    """One problem with all its answers."""

    id: str
    level: str
    prompt: list[dict[str, Any]]
    """The conversation that was answered, in the form of chat data."""
    gold: str
    requires_tool: bool
    samples: tuple[Sample, ...]

    @property
    def num_correct(self) -> int:
        return sum(sample.correct for sample in self.samples)


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What an evaluation found."""

    task: str
    num_samples: int
    """Answers per problem."""
    records: tuple[Record, ...]

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return fmean(record.num_correct / self.num_samples for record in self.records)

    @property
    def interval(self) -> Interval:
        """95 % interval of the accuracy: Wilson's, or over problems if each has several answers."""
        if self.num_samples == 1:
            return wilson_interval(sum(record.num_correct for record in self.records), len(self.records))
        return bootstrap_interval([record.num_correct / self.num_samples for record in self.records])

    @property
    def pass_at_k(self) -> dict[int, float]:
        """Estimated share of problems with a right answer among k: k = 1, 2, 4, ... up to `num_samples`."""
        powers = [1 << i for i in range(self.num_samples.bit_length())]
        ks = sorted({k for k in powers if k <= self.num_samples} | {self.num_samples})
        return {k: fmean(pass_at_k(self.num_samples, r.num_correct, k) for r in self.records) for k in ks}

    @property
    def accuracy_by_level(self) -> dict[str, float]:
        """Accuracy for each `Problem.level`, sorted by name."""
        levels: dict[str, list[float]] = {}
        for record in self.records:
            levels.setdefault(record.level, []).append(record.num_correct / self.num_samples)
        return {level: fmean(shares) for level, shares in sorted(levels.items())}

    @property
    def num_too_long(self) -> int:
        """Problems that were not asked, since their prompt does not fit the context."""
        return sum(record.samples[0].finish_reason == PROMPT_TOO_LONG for record in self.records)


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """Return the unbiased estimate of P(one of k answers is right) (Chen et al., arXiv 2107.03374)."""
    assert 1 <= k <= num_samples
    return 1 - math.comb(num_samples - num_correct, k) / math.comb(num_samples, k)


def evaluate_generative(
    engine: Answering,
    task: Task,
    problems: Sequence[Problem],
    options: "SamplingOptions",
    *,
    batch_size: int = 16,
    num_samples: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> TaskResult:
    """Return how `engine` does on `problems`, `num_samples` answers each.

    batch_size: answers that are written together; it changes nothing but speed and memory.
    progress: called with (problems done, all problems).

    A problem whose prompt does not fit the context counts as wrong, see `TaskResult.num_too_long`.
    """
    assert problems
    options = options.seeded()  # one seed for all, whatever the batches
    prompts = [render_prompt(engine.tokenizer, problem.messages) for problem in problems]
    fitting = [i for i, prompt in enumerate(prompts) if len(prompt) <= engine.context]
    too_long = Sample(
        text="",
        thinking="",
        tool_calls=(),
        tool_results=(),
        extracted=None,
        correct=False,
        finish_reason=PROMPT_TOO_LONG,
        num_tokens=0,
    )
    samples = [(too_long,) * num_samples] * len(problems)
    step = max(1, batch_size // num_samples)
    for start in range(0, len(fitting), step):
        indices = fitting[start : start + step]
        groups = engine.generate_batch([prompts[i] for i in indices], options, num_samples)
        for i, completions in zip(indices, groups, strict=True):
            samples[i] = tuple(_judge(task, problems[i], completion) for completion in completions)
        if progress is not None:
            progress(min(start + step, len(fitting)) + len(problems) - len(fitting), len(problems))
    records = tuple(_record(problem, some) for problem, some in zip(problems, samples, strict=True))
    return TaskResult(task=task.name, num_samples=num_samples, records=records)


def write_records(path: Path, result: TaskResult) -> None:
    """Write one JSON line per problem: prompt, gold and every answer with what was made of it."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record in result.records:
            row = {"task": result.task, **asdict(record)}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _judge(task: Task, problem: Problem, completion: "Completion") -> Sample:
    return Sample(
        text=completion.text,
        thinking=completion.thinking,
        tool_calls=tuple(completion.tool_calls),
        tool_results=tuple(completion.tool_results),
        extracted=task.extract(problem, completion.text),
        correct=task.is_correct(problem, completion.text),
        finish_reason=completion.finish_reason,
        num_tokens=completion.num_tokens,
    )


def _record(problem: Problem, samples: tuple[Sample, ...]) -> Record:
    return Record(
        id=problem.id,
        level=problem.level,
        prompt=messages_to_json(problem.messages),
        gold=problem.answer,
        requires_tool=problem.requires_tool,
        samples=samples,
    )
