"""Models against each other on the same problems, and one model over its training.

Scores may still be filling: two are compared on the problems that both were asked.
"""

from collections.abc import Sequence
from dataclasses import replace

from picochat.eval.intervals import Interval
from picochat.eval.reasoning import Measure
from picochat.eval.scores import ModelScores, TaskScore, paired_difference
from picochat.plots.comparison import Agreement
from picochat.plots.scores import Point
from picochat.tasks.registry import label


def labelled(models: Sequence[ModelScores]) -> list[ModelScores]:
    """Return the models with their tasks called as on pages, see `picochat.tasks.registry.label`."""
    return [
        replace(model, tasks={label(task): score for task, score in model.tasks.items()}) for model in models
    ]


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


def score_rows(models: Sequence[ModelScores], *, with_ways: bool) -> list[tuple[str, list[str]]]:
    """Return rows for `picochat.plots.tables.table_html`: a task each, in percent with 95 % intervals.

    with_ways: below each task how its answers came about, see `reasoning_measures`.
    """
    rows: list[tuple[str, list[str]]] = []
    for task in dict.fromkeys(task for model in models for task in model.tasks):
        scores = [model.tasks.get(task) for model in models]
        sizes = sorted({len(score.examples) for score in scores if score is not None})
        cells = ["" if score is None else _percent(score.value, score.interval) for score in scores]
        rows.append((f"{task} ({' to '.join(map(str, sizes))} problems)", cells))
        for k in dict.fromkeys(k for score in scores if score for k in score.pass_at_k):
            values = [score.pass_at_k.get(k) if score else None for score in scores]
            rows.append((f" pass@{k}", ["" if v is None else f"{100 * v:.1f}" for v in values]))
        measured = [score.reasoning if score and with_ways else {} for score in scores]
        rows += [
            (f" {name}", [_measure(one.get(name)) for one in measured])
            for name in dict.fromkeys(name for one in measured for name in one)
        ]
    return rows


def _percent(value: float, interval: Interval) -> str:
    return f"{100 * value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _measure(measure: Measure | None) -> str:
    if measure is None:
        return ""
    if measure.is_share:
        return _percent(measure.value, measure.interval)
    return f"{measure.value:.0f} [{measure.interval.low:.0f}, {measure.interval.high:.0f}] characters"
