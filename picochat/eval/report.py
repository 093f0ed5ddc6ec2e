"""A comparison of models as one HTML file that needs nothing else: no network, no server.

plotly.js is in the file once. What models and data say is escaped; the only script of the page is plotly's.
The filter of the examples is CSS.
"""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from picochat.eval.intervals import Interval
from picochat.eval.reasoning import Measure
from picochat.eval.report_style import STYLE
from picochat.eval.scores import ModelScores, TaskScore, paired_difference
from picochat.plots import scores as score_plots
from picochat.plots.curves import Curve, loss_figure
from picochat.plots.scores import Point
from picochat.train.run_dir import RunDir, run_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

EXAMPLES_PER_TASK = 1000
"""Rows of a task's table; those where the models differ come first in what is kept."""


def html_report(models: Sequence[ModelScores], runs: Mapping[str, RunDir], *, title: str = "") -> str:
    """Return the page: scores, levels, calibration, curves of training, reasoning, all examples.

    models: at least one, all with the same tasks and problems. runs: the runs of those that are of one, by
    model name.
    """
    title = title or f"picochat eval: {', '.join(model.name for model in models)}"
    body = [
        f"<h1>{_escape(title)}</h1>",
        _models_list(models),
        "<h2>Scores</h2>",
        _div(score_figure(models)),
        _score_table(models),
        *_levels(models),
        *_calibration(models),
        *_curves({model.name: runs.get(model.name) for model in models}),
        *_reasoning(models),
    ]
    body += [_examples(models, name, number) for number, name in enumerate(models[0].tasks)]
    from plotly.offline import get_plotlyjs

    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{_escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style>"
        f"<script>{get_plotlyjs()}</script></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def write_report(models: Sequence[ModelScores], checkpoints: Sequence[Path], path: Path) -> None:
    """Write the page of models whose checkpoints stand in the folders `checkpoints`."""
    found = zip(models, map(run_of, checkpoints), strict=True)
    runs = {model.name: run for model, run in found if run is not None}
    path.write_text(html_report(models, runs), encoding="utf-8", newline="\n")


def score_figure(models: Sequence[ModelScores]) -> "go.Figure":
    """Return the scores of all tasks."""
    points = {
        model.name: {
            task: _point(score.value, score.interval, len(score.examples))
            for task, score in model.tasks.items()
        }
        for model in models
    }
    tasks = models[0].tasks.items()
    chance = {task: score.chance for task, score in tasks if score.chance is not None}
    return score_plots.score_figure(points, chance=chance)


def level_figure(models: Sequence[ModelScores], task: str) -> "go.Figure":
    """Return the scores on each level of a task."""
    points = {
        model.name: {
            level or "(none)": _point(measure.value, measure.interval, measure.num_problems)
            for level, measure in model.tasks[task].by_level.items()
        }
        for model in models
    }
    return score_plots.score_figure(points)


def calibration_figure(models: Sequence[ModelScores], task: str) -> "go.Figure | None":
    """Return how right the models are at which confidence; None for a task that is written."""
    bins = {}
    for model in models:
        rated = [one for one in model.tasks[task].examples if one.confidence is not None]
        if rated:
            confidences = [one.confidence for one in rated if one.confidence is not None]
            bins[model.name] = score_plots.calibration_bins(confidences, [one.credit for one in rated])
    return score_plots.calibration_figure(bins) if bins else None


def run_curves(runs: "Mapping[str, RunDir | None]") -> dict[str, list[Curve]]:
    """Return the training loss of the runs and each of their validation metrics, by metric.

    None holds the place, and so the colour, of a model that is of no run.
    """
    curves: dict[str, list[Curve]] = {"loss": []}
    for number, (name, run) in enumerate(runs.items()):
        if run is None:
            continue
        series: dict[str, list[tuple[int, float]]] = {}
        for row in run.rows("step", "eval"):
            values = {"loss": row["loss"]} if row["event"] == "step" else row["metrics"]
            for metric, value in values.items():
                series.setdefault(metric, []).append((row["step"], value))
        for metric, points in series.items():
            steps, values = zip(*points, strict=True)
            curves.setdefault(metric, []).append(Curve(name=name, steps=steps, values=values, series=number))
    return {metric: some for metric, some in curves.items() if some}


def _point(value: float, interval: Interval, num_problems: int) -> Point:
    return Point(value=value, low=interval.low, high=interval.high, num_problems=num_problems)


def _models_list(models: Sequence[ModelScores]) -> str:
    items = "".join(f"<li><b>{_escape(model.name)}</b> {_escape(model.spec)}</li>" for model in models)
    return f"<ul>{items}</ul>"


def _score_table(models: Sequence[ModelScores]) -> str:
    head = ["", "problems", "measured", *(model.name for model in models)]
    head += ["difference", "better", "worse"] if len(models) == 2 else []
    rows = []
    for name, first in models[0].tasks.items():
        scores = [model.tasks[name] for model in models]
        row = [name, str(len(first.examples)), first.method]
        row += [_percent(score.value, score.interval) for score in scores]
        if len(scores) == 2:
            found = paired_difference(*scores)
            row.append(_percent(found.value, found.interval, signed=True))
            row += [str(len(found.better)), str(len(found.worse))]
        rows.append(row)
        rows += [
            [f"{name} pass@{k}", "", "", *(f"{100 * score.pass_at_k[k]:.1f}" for score in scores)]
            for k in first.pass_at_k
        ]
        if any(score.num_too_long for score in scores):
            counts = [str(score.num_too_long) for score in scores]
            rows.append([f"{name}: prompts that do not fit (wrong)", "", "", *counts])
    note = "Percent with 95 % intervals."
    if len(models) == 2:
        note += f" Difference: {models[1].name} less {models[0].name}, paired by problem."
    return _table(head, rows) + f"<p>{_escape(note)}</p>"


def _levels(models: Sequence[ModelScores]) -> list[str]:
    parts = []
    for name, score in models[0].tasks.items():
        if len(score.by_level) > 1:
            parts += [f"<h2>{_escape(name)} by level</h2>", _div(level_figure(models, name))]
    return parts


def _calibration(models: Sequence[ModelScores]) -> list[str]:
    parts = []
    for name in models[0].tasks:
        figure = calibration_figure(models, name)
        if figure is not None:
            parts += [
                f"<h2>{_escape(name)}: is it as sure as it is right?</h2>",
                _div(figure),
                "<p>Confidence is the share of the chosen answer in the likelihood of all choices. On the "
                "dotted line a model is right as often as it is sure; under it, it is overconfident.</p>",
            ]
    return parts


def _curves(runs: "Mapping[str, RunDir | None]") -> list[str]:
    parts = []
    for metric, curves in run_curves(runs).items():
        smooth_over = 20 if metric == "loss" else 1
        title = "Training loss" if metric == "loss" else f"Validation: {_escape(metric)}"
        figure = loss_figure(curves, smooth_over=smooth_over, y_title=metric)
        parts += [f"<h2>{title}</h2>", _div(figure)]
    return parts


def _reasoning(models: Sequence[ModelScores]) -> list[str]:
    rows = []
    for name in models[0].tasks:
        measured = [model.tasks[name].reasoning for model in models]
        rows += [
            [f"{name}: {measure}", *(_measure(one.get(measure)) for one in measured)]
            for measure in dict.fromkeys(key for one in measured for key in one)
        ]
    if not rows:
        return []
    note = "<p>Percent with 95 % intervals; lengths in characters.</p>"
    return ["<h2>Reasoning</h2>", _table(["", *(model.name for model in models)], rows), note]


def _measure(measure: Measure | None) -> str:
    if measure is None:
        return "-"
    if measure.is_share:
        return _percent(measure.value, measure.interval)
    return f"{measure.value:.0f} [{measure.interval.low:.0f}, {measure.interval.high:.0f}]"


def _examples(models: Sequence[ModelScores], name: str, number: int) -> str:
    """Return a task's examples, folded away, with buttons for right, wrong and differing ones."""
    scores = [model.tasks[name] for model in models]
    kinds = _kinds(scores)
    kept = _kept(kinds, EXAMPLES_PER_TASK)
    differs = "models differ" if len(models) > 1 else "sometimes right"
    buttons = {"all": "all", "right": "right", "wrong": "wrong", "differs": differs}
    if "differs" not in kinds:
        del buttons["differs"]
    inputs = ""
    for kind, text in buttons.items():
        count = len(kinds) if kind == "all" else kinds.count(kind)
        inputs += (
            f'<input type="radio" name="filter{number}" id="f{number}{kind}" class="{kind}"'
            f"{' checked' if kind == 'all' else ''}>"
            f'<label for="f{number}{kind}">{text} ({count})</label>'
        )
    head = "".join(
        f"<th>{_escape(text)}</th>" for text in ("problem", "right answer", *(model.name for model in models))
    )
    rows = "".join(_example_row(scores, i, kinds[i]) for i in kept)
    shown = "" if len(kept) == len(kinds) else f" The table shows {len(kept)} of {len(kinds)} problems."
    return (
        f"<details><summary>{_escape(name)}: {len(kinds)} examples</summary>{inputs}"
        f'<p class="note">{shown}</p>'
        f'<div class="wide"><table class="examples"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _kinds(scores: Sequence[TaskScore]) -> list[str]:
    """Return for each problem whether all models are right, all wrong, or neither."""
    names = {frozenset({1}): "right", frozenset({0}): "wrong"}
    rows = zip(*(score.credits for score in scores), strict=True)
    return [names.get(frozenset(credits), "differs") for credits in rows]


def _kept(kinds: Sequence[str], count: int) -> list[int]:
    """Return the indices of at most `count` problems, in order: differing ones, then the first others."""
    by_interest = sorted(range(len(kinds)), key=lambda i: kinds[i] != "differs")
    return sorted(by_interest[:count])


def _example_row(scores: Sequence[TaskScore], index: int, kind: str) -> str:
    first = scores[0].examples[index]
    about = " ".join(part for part in (first.id, first.level) if part)
    cells = [
        f'<td class="text">{_escape(first.question)}<small>{_escape(about)}</small></td>',
        f'<td class="text">{_escape(first.gold)}</td>',
    ]
    for score in scores:
        one = score.examples[index]
        mark = "✓" if one.credit == 1 else "✗" if one.credit == 0 else f"{100 * one.credit:.0f} %"
        sure = "" if one.confidence is None else f"<small>sure by {100 * one.confidence:.0f} %</small>"
        thinking = f"<small>{_escape(one.thinking)}</small>" if one.thinking else ""
        style = "good" if one.credit == 1 else "bad" if one.credit == 0 else "part"
        cells.append(f'<td class="text {style}"><b>{mark}</b> {_escape(one.answer)}{sure}{thinking}</td>')
    return f'<tr class="{kind}">{"".join(cells)}</tr>\n'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{_escape(text)}</th>" for text in head)
    body = "".join("<tr>" + "".join(f"<td>{_escape(text)}</td>" for text in row) + "</tr>\n" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _percent(value: float, interval: Interval, *, signed: bool = False) -> str:
    form = "+.1f" if signed else ".1f"
    low, high = format(100 * interval.low, form), format(100 * interval.high, form)
    return f"{format(100 * value, form)} [{low}, {high}]"


def _div(figure: "go.Figure") -> str:
    return figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False})


def _escape(text: str) -> str:
    return html.escape(text)
