"""What the page of scores shows: functions of what was measured and of runs that are watched."""

import html
from pathlib import Path

import marimo as mo

from notebooks import live
from notebooks.layout import text
from picochat.background import Background
from picochat.commands.runs_view import age
from picochat.eval import compare
from picochat.eval import examples as browser
from picochat.eval.live import Findings
from picochat.eval.parts import text_difference
from picochat.eval.report import calibration_figure, score_figure, write_report
from picochat.eval.scores import ModelScores
from picochat.plots import answers, comparison, tables, watched
from picochat.plots.curves import Curve
from picochat.plots.samples import sample_html
from picochat.plots.scores import Point
from picochat.tasks.registry import label
from picochat.train.run_dir import resolve_checkpoint
from picochat.train.watch import Watch, WatchedRun

PER_PAGE = 5
NOT_YET = "*Nothing measured yet: press **Measure** above.*"


def progress_note(found: Findings, work: Background[Findings]) -> mo.Html:
    """Return how far the measuring is."""
    if work.error is not None:
        return live.trouble(work.error)
    if not found.models and work.state == "idle":
        return mo.md(NOT_YET)
    doing = found.doing or "measured"
    if work.state == "stopped":
        doing = "stopped; what was measured stays"
    share = found.done / max(found.total, 1)
    count = f" ({found.done} of {found.total} problems and documents)" if found.total else ""
    return mo.vstack([mo.Html(f"<p>{html.escape(doing + count)}</p>"), mo.Html(tables.bar_html(share))])


def scores_view(found: Findings, with_ways: bool) -> mo.Html:
    """Return all scores as a figure and a table."""
    models = compare.labelled([model for model in found.models if model.tasks])
    parts: list[object] = []
    if models:
        head = ["percent [95 % interval]", *(model.name for model in models)]
        rows = compare.score_rows(models, with_ways=with_ways)
        parts += [score_figure(models), mo.Html(tables.table_html(head, rows))]
    if found.texts:
        points = {
            name: Point(
                value=score.bpb,
                low=score.interval.low,
                high=score.interval.high,
                num_problems=len(score.parts),
            )
            for name, score in found.texts.items()
        }
        parts += [
            text("""
            **Bits per byte**: how many bits the model needs for each byte of a text it never saw, if it is
            used to compress it. Unlike the loss per token it can be compared between tokenizers.
            """),
            comparison.bits_figure(points),
        ]
    return mo.vstack(parts or [mo.md(NOT_YET)])


def pick(found: Findings, *names: str | None) -> list[ModelScores]:
    """Return the models of these names that have scores, each once, with their tasks called as on pages."""
    by_name = {model.name: model for model in compare.labelled(found.models) if model.tasks}
    return [by_name[name] for name in dict.fromkeys(names) if name in by_name]


def difference_view(found: Findings, first: str | None, second: str | None) -> mo.Html:
    """Return what changed from one model to another."""
    pair = pick(found, first, second)
    if len(pair) < 2:
        return mo.md("*Choose two models that were measured.*")
    parts: list[object] = [
        comparison.agreement_figure(
            compare.agreements(*pair),
            first=pair[0].name,
            second=pair[1].name,
            title="Who does which problems",
        ),
        comparison.difference_figure(compare.differences(*pair), title=f"{pair[1].name} less {pair[0].name}"),
    ]
    if first in found.texts and second in found.texts:
        value, (low, high) = text_difference(found.texts[first], found.texts[second])
        verdict = "no clear difference" if low <= 0 <= high else "better" if value < 0 else "worse"
        parts.append(mo.md(f"Bits per byte: **{value:+.3f}** [{low:+.3f}, {high:+.3f}], that is {verdict}."))
    return mo.vstack(parts)


def trend_view(found: Findings) -> mo.Html:
    """Return the scores over the steps of a run of which several checkpoints were measured."""
    runs = compare.trends(compare.labelled(found.models))
    if not runs:
        return mo.md(
            "*Choose several checkpoints of one run to see here how its scores grow over its training.*"
        )
    return mo.as_html(comparison.trend_figure(runs, title="Scores over training"))


def calibration_view(found: Findings) -> mo.Html:
    """Return how right the models are at which confidence, for each task that shows confidence."""
    parts = []
    for task in dict.fromkeys(task for model in found.models for task in model.tasks):
        figure = calibration_figure([model for model in found.models if task in model.tasks], task)
        if figure is not None:
            parts += [mo.md(f"**{label(task)}**"), figure]
    return mo.vstack(parts) if parts else mo.md("*Needs multiple choice, scored by letter or text.*")


def examples_view(
    models: list[ModelScores], task: str, kind: browser.Kind, containing: str, page: int
) -> mo.Html:
    """Return a page of single problems."""
    task = label(task)
    models = [model for model in models if task in model.tasks]
    if not models:
        return mo.md(f"*None of the {task} was asked yet.*")
    scores = [model.tasks[task] for model in models]
    found = browser.choose(scores, kind, containing=containing, page=page, per_page=PER_PAGE)
    pages = -(-found.total // PER_PAGE)
    return mo.vstack(
        [
            mo.md(f"{found.total} problems, page {page} of {pages}." if found.total else "No such problem."),
            mo.Html(browser.STYLE + browser.examples_html(models, task, found.indices)),
        ]
    )


def write_page(found: Findings, path: Path, runs_dir: Path) -> None:
    """Write all that was found to an HTML file."""
    tasks = found.models[0].tasks.keys()
    models = [model for model in found.models if model.tasks.keys() == tasks]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_report(models, [resolve_checkpoint(model.spec, runs_dir) for model in models], path)


def curves_view(watch: Watch, quantity: str, *, smooth_over: int, log_x: bool, log_y: bool) -> mo.Html:
    """Return a quantity of the runs over the steps, a picture per stage, and where each run stands."""
    if not watch.runs:
        return mo.md("*Choose a run.*")
    curves: dict[str, list[Curve]] = {}
    for place, run in enumerate(watch.runs):
        steps, values = run.curve(quantity)
        if len(steps):
            curve = Curve(name=run.name, steps=steps.tolist(), values=values.tolist(), series=place)
            curves.setdefault(run.info["stage"], []).append(curve)
    figures = watched.stage_figures(curves, quantity, smooth_over=smooth_over, log_x=log_x, log_y=log_y)
    notes = []
    if not figures:
        notes = ["*None of these runs has measured this yet.*"]
    elif quantity == "loss" and "grpo" in curves:
        notes = [
            "The loss of practice does not fall: it hovers about zero, however much is learned. "
            "Look at the reward."
        ]
    return mo.vstack([*figures, *map(mo.md, notes), runs_table(watch.runs)])


def runs_table(runs: list[WatchedRun]) -> mo.Html:
    """Return where each run stands."""
    columns = ("loss", "held-out bpb", "held-out val_loss", "tokens per second")
    rows = []
    for run in runs:
        steps = run.status.get("steps", run.info["options"].get("steps", "?"))
        stage = run.info["stage"]
        cells = [watched.STAGES.get(stage, stage), run.status["state"], f"{run.status['step']} / {steps}"]
        for name in columns:
            values = run.curve(name)[1]
            form = ",.0f" if name == "tokens per second" else ".3f"
            cells.append(format(values[-1], form) if len(values) else "")
        cells.append("" if run.seconds_left is None else age(run.seconds_left))
        rows.append((run.name, cells))
    head = ["run", "stage", "state", "step", *(watched.USUAL[name] for name in columns), "time left"]
    return mo.Html(f'<div style="overflow-x:auto">{tables.table_html(head, rows)}</div>')


def what_can_be_asked(states: dict[str, str], name: str | None) -> tuple[dict[str, bool], str]:
    """Return which of pause, resume and checkpoint have an effect on a run, and why not if none has."""
    state = states.get(name or "", "")
    can = {
        "pause": state in ("starting", "running"),
        "resume": state == "paused",
        "checkpoint": state in ("starting", "running", "paused"),
    }
    no_effect = f"*{name} is {state}: no process trains it, so there is nothing to pause or to save.*"
    return can, "" if any(can.values()) or not state else no_effect


def samples_view(watch: Watch, name: str | None) -> mo.Html:
    """Return what a run wrote, the newest first."""
    samples = [sample for run in watch.runs if run.name == name for sample in run.samples()]
    if not samples:
        return mo.md("*No sample yet.*")
    legend = answers.PARTS_LEGEND if any("_start|>" in sample for _, _, sample in samples) else ""
    return mo.Html(legend + sample_html(samples))
