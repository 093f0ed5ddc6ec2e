"""Held-out questions of the built-in world: what no training file asks."""

from collections.abc import Callable
from pathlib import Path

from picochat.data.builtin.write import WorldFiles
from picochat.engine.generate import Engine
from picochat.engine.options import SamplingOptions
from picochat.eval.generative import TaskResult, evaluate_generative
from picochat.model.gpt import GPT
from picochat.tasks.registry import TASKS
from picochat.tasks.task import Problem
from picochat.tokenizer.tokenizer import Tokenizer

ANSWER_TOKENS = 96


def held_out_problems(world: Path) -> dict[str, tuple[str, list[Problem]]]:
    """Return name -> (task, problems): facts told but never asked about, sums on numbers never seen."""
    files = WorldFiles(root=world)
    sums = TASKS["gsm8k"].load(files.jsonl("gsm8k", "test"))
    easy = [problem for problem in sums if problem.level == "one-step"]
    hard = [problem for problem in sums if problem.level != "one-step"]
    return {
        "facts": ("qa", TASKS["qa"].load(files.jsonl("qa", "test"))),
        "one-step sums": ("gsm8k", easy),
        "harder sums": ("gsm8k", hard),
        "tool use": ("tools", TASKS["tools"].load(files.jsonl("tools", "test"))),
    }


def held_out_scores(
    model: GPT,
    tokenizer: Tokenizer,
    world: Path,
    *,
    max_problems: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, TaskResult]:
    """Return the greedy scores on at most `max_problems` held-out problems of each kind.

    The problems of a kind are taken at equal distances, so that every level has its share.
    progress: called with (questions asked, all questions).
    """
    engine = Engine(model, tokenizer)
    options = SamplingOptions(temperature=0, max_tokens=ANSWER_TOKENS)
    chosen = {}
    for name, (task, problems) in held_out_problems(world).items():
        count = min(max_problems, len(problems))
        chosen[name] = task, [problems[i * len(problems) // count] for i in range(count)]
    total = sum(len(problems) for _, problems in chosen.values())
    results: dict[str, TaskResult] = {}
    done = 0
    for name, (task, problems) in chosen.items():
        results[name] = evaluate_generative(
            engine,
            TASKS[task],
            problems,
            options,
            batch_size=50,
            progress=(lambda now, _, before=done: progress(before + now, total)) if progress else None,
        )
        done += len(problems)
    return results
