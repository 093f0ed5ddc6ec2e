"""Scores as a table: a row per measure, a column per model, and for two models what changed."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from picochat.commands.runs_view import make_console
from picochat.eval.intervals import Interval
from picochat.eval.reasoning import Measure
from picochat.eval.scores import ModelScores, TaskScore, paired_difference

MAX_LEVELS = 8
"""Tasks of more levels (MMLU's subjects) show none in the terminal; the report has them all."""


def print_scores(models: Sequence[ModelScores], *, shows_reasoning: bool) -> None:
    """Print what the models scored, in percent with 95 % intervals."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for model in models:
        table.add_column(escape(model.name), justify="right", overflow="fold")
    if len(models) == 2:
        table.add_column("difference", justify="right")
    notes = []
    for name in models[0].tasks:
        scores = [model.tasks[name] for model in models]
        _add_task(table, scores)
        if shows_reasoning:
            _add_measures(table, [score.reasoning for score in scores])
        notes += _notes(models, name)
    console = make_console()
    console.print(table)
    for note in notes:
        console.print(escape(note))


def score_text(value: float, interval: Interval) -> str:
    """Return a score in percent with its interval.

    >>> score_text(0.5, Interval(0.25, 0.75))
    '50.0 [25.0, 75.0]'
    """
    return f"{100 * value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def difference_text(first: TaskScore, second: TaskScore) -> str:
    """Return how much better the second model is, with the interval and the numbers of problems."""
    found = paired_difference(first, second)
    low, high = 100 * found.interval.low, 100 * found.interval.high
    changed = f"{len(found.better)} better, {len(found.worse)} worse"
    return f"{100 * found.value:+.1f} [{low:+.1f}, {high:+.1f}]  {changed}"


def _add_task(table: Table, scores: Sequence[TaskScore]) -> None:
    first = scores[0]
    count = f"{len(first.examples)} problems, {first.method}"
    if first.num_samples > 1:
        count += f", {first.num_samples} answers each"
    cells = [score_text(score.value, score.interval) for score in scores]
    if len(scores) == 2:
        cells.append(difference_text(*scores))
    table.add_row(f"[bold]{first.task}[/] % ({count})", *cells)
    for k in first.pass_at_k:
        table.add_row(f"  pass@{k}", *(f"{100 * score.pass_at_k[k]:.1f}" for score in scores))
    if 1 < len(first.by_level) <= MAX_LEVELS:
        _add_measures(table, [score.by_level for score in scores])


def _add_measures(table: Table, measures: Sequence[dict[str, Measure]]) -> None:
    for name in dict.fromkeys(name for one in measures for name in one):
        cells = [_measure_text(one.get(name)) for one in measures]
        table.add_row(f"  {escape(name) or '(no level)'}", *cells)


def _measure_text(measure: Measure | None) -> str:
    if measure is None:
        return "-"
    if measure.is_share:
        return score_text(measure.value, measure.interval)
    low, high = measure.interval
    return f"{measure.value:.0f} [{low:.0f}, {high:.0f}]"


def _notes(models: Sequence[ModelScores], name: str) -> list[str]:
    notes = []
    chance = models[0].tasks[name].chance
    if chance is not None:
        notes.append(f"{name}: guessing scores {100 * chance:.1f}")
    return notes + [
        f"{name}: {count} prompts do not fit the context of {model.name}; they count as wrong"
        for model in models
        if (count := model.tasks[name].num_too_long)
    ]
