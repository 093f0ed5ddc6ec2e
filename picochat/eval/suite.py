"""Which problems a model is asked, and how: what `picochat eval` and the notebook run."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from picochat.data.bad_rows import BadRows
from picochat.engine.options import SamplingOptions
from picochat.errors import UserError
from picochat.tasks.task import Problem, Task, with_examples

if TYPE_CHECKING:
    from picochat.eval.scores import ModelScores, TaskScore
    from picochat.model.gpt import GPT
    from picochat.tokenizer.tokenizer import Tokenizer

Method = Literal["letter", "text", "written"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """Problems of one task and the way to ask them."""

    task: Task
    problems: tuple[Problem, ...]
    method: Method = "written"
    """letter or text: multiple choice by likelihood (see multiple_choice.py); written: the model writes."""


def load_problems(
    task: Task,
    files: Sequence[str | Path],
    *,
    max_problems: int | None = None,
    few_shot: int = 0,
    examples: str | Path | None = None,
    bad_rows: BadRows | None = None,
) -> tuple[Problem, ...]:
    """Return the problems of the files.

    max_problems: take at most so many, at equal distances, so that every part of the files has its share.
    few_shot: solved problems of the file `examples` shown before each one, the same for all of a level:
    of its own level where the file has enough of it (MMLU's subjects), else of any.

    Raises:
        UserError: a file can not be read, or has not as many examples.
    """
    bad_rows = bad_rows or BadRows.of("stop")
    problems = [problem for file in files for problem in task.load(file, on_bad_row=bad_rows)]
    problems = _spread(problems, max_problems or len(problems))
    if few_shot:
        assert examples is not None
        solved = task.load(examples, on_bad_row=bad_rows)
        if len(solved) < few_shot:
            raise UserError(f"{examples}: has {len(solved)} problems, too few for --few-shot {few_shot}")
        chosen: dict[str, list[Problem]] = {}
        for level in {problem.level for problem in problems}:
            same = [one for one in solved if one.level == level]
            chosen[level] = _spread(same if len(same) >= few_shot else solved, few_shot)
        problems = [with_examples(problem, chosen[problem.level]) for problem in problems]
    return tuple(problems)


def evaluate(
    model: "GPT",
    tokenizer: "Tokenizer",
    job: Job,
    *,
    sampling: SamplingOptions,
    num_samples: int = 1,
    batch_size: int = 32,
    records: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> "TaskScore":
    """Return how the model does.

    sampling and num_samples are for jobs that are written. records: file for a JSON line per problem.
    """
    from picochat.engine.generate import Engine
    from picochat.eval.generative import evaluate_generative, write_records
    from picochat.eval.multiple_choice import evaluate_choices, write_choice_records
    from picochat.eval.scores import score_answers, score_choices

    if job.method == "written":
        answers = evaluate_generative(
            Engine(model, tokenizer),
            job.task,
            job.problems,
            sampling,
            batch_size=batch_size,
            num_samples=num_samples,
            progress=progress,
        )
        if records is not None:
            write_records(records, answers)
        return score_answers(answers)
    choices = evaluate_choices(
        model, tokenizer, job.problems, scoring=job.method, batch_size=batch_size, progress=progress
    )
    if records is not None:
        write_choice_records(records, choices)
    return score_choices(choices)


def write_scores(path: Path, models: "Sequence[ModelScores]") -> None:
    """Write what the models scored, without the single problems, as JSON."""
    rows: list[dict[str, Any]] = []
    for model in models:
        for score in model.tasks.values():
            row = {
                "model": model.spec,
                "task": score.task,
                "method": score.method,
                "score": score.value,
                "interval": score.interval,
                "problems": len(score.examples),
                "samples": score.num_samples,
                "too_long": score.num_too_long,
                "chance": score.chance,
                "pass_at_k": score.pass_at_k,
                "levels": {level: asdict(measure) for level, measure in score.by_level.items()},
                "reasoning": {name: asdict(measure) for name, measure in score.reasoning.items()},
            }
            rows.append(row)
    text = json.dumps(rows, ensure_ascii=False, indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def file_name(name: str) -> str:
    """Return a model's name as the name of a folder.

    >>> file_name("runs/demo@500")
    'runs_demo@500'
    """
    return re.sub(r"[^\w.@-]", "_", name).strip(".") or "_"


def _spread(problems: Sequence[Problem], count: int) -> list[Problem]:
    count = min(count, len(problems))
    return [problems[i * len(problems) // count] for i in range(count)]
