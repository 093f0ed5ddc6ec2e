"""Models against each other on the same problems, and one model over its training.

Scores may still be filling: two are compared on the problems that both were asked.
"""

from collections.abc import Sequence
from dataclasses import replace

from picochat.eval.scores import ModelScores, TaskScore, paired_difference
from picochat.plots.comparison import Agreement
from picochat.plots.scores import Point


def common_examples(first: TaskScore, second: TaskScore) -> tuple[TaskScore, TaskScore]:
    """Return both scores on the problems that both were asked; those were asked in the same order."""
    count = min(len(first.examples), len(second.examples))
    return replace(first, examples=first.examples[:count]), replace(second, examples=second.examples[:count])


def common_tasks(first: ModelScores, second: ModelScores) -> dict[str, tuple[TaskScore, TaskScore]]:
    """Return the tasks that both have begun."""
    return {
        task: common_examples(score, second.tasks[task])
        for task, score in first.tasks.items()
        if task in second.tasks
    }


def agreements(first: ModelScores, second: ModelScores) -> dict[str, Agreement]:
    """Return for each task how many problems both, one or none of two models does right.

    With several answers per problem one counts as right if most of them are.
    """
    found = {}
    for task, scores in common_tasks(first, second).items():
        a, b = ([credit > 0.5 for credit in score.credits] for score in scores)
        pairs = list(zip(a, b, strict=True))
        found[task] = Agreement(
            both=pairs.count((True, True)),
            first_only=pairs.count((True, False)),
            second_only=pairs.count((False, True)),
            neither=pairs.count((False, False)),
        )
    return found


def differences(first: ModelScores, second: ModelScores) -> dict[str, Point]:
    """Return for each task by how much the second model is better, with the paired 95 % interval."""
    points = {}
    for task, scores in common_tasks(first, second).items():
        found = paired_difference(*scores)
        points[task] = Point(
            value=found.value,
            low=found.interval.low,
            high=found.interval.high,
            num_problems=len(scores[0].examples),
        )
    return points


def trends(models: Sequence[ModelScores]) -> dict[str, dict[str, list[tuple[int, Point]]]]:
    """Return the scores of runs of which several checkpoints (`NAME@STEP`) were measured.

    Returns: run -> task -> (step, score) by step.
    """
    runs: dict[str, dict[str, list[tuple[int, Point]]]] = {}
    for model in models:
        run, _, step = model.spec.rpartition("@")
        if not (run and step.isdecimal()):
            continue
        for task, score in model.tasks.items():
            low, high = score.interval
            point = Point(value=score.value, low=low, high=high, num_problems=len(score.examples))
            runs.setdefault(run, {}).setdefault(task, []).append((int(step), point))
    return {
        run: {task: sorted(points, key=lambda one: one[0]) for task, points in tasks.items()}
        for run, tasks in runs.items()
        if any(len(points) > 1 for points in tasks.values())
    }
