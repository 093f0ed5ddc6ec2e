import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="picochat: what does it know?")

with app.setup:
    import html
    import sys
    from dataclasses import dataclass, field, replace
    from pathlib import Path
    from typing import Annotated

    import marimo as mo
    import tyro

    from notebooks import live
    from picochat.background import shared
    from picochat.commands.eval_tasks import EvalAll
    from picochat.commands.runs_view import age
    from picochat.data.bad_rows import BadRows
    from picochat.engine.options import SamplingOptions
    from picochat.errors import UserError
    from picochat.eval import compare
    from picochat.eval import examples as browser
    from picochat.eval.live import Findings, Plan, builtin_text, measure
    from picochat.eval.parts import text_difference
    from picochat.eval.report import calibration_figure, score_figure, write_report
    from picochat.eval.scores import ModelScores, short_names
    from picochat.plots import comparison, tables
    from picochat.plots.curves import Curve, loss_figure
    from picochat.plots.samples import sample_html
    from picochat.plots.scores import Point
    from picochat.train.run_dir import find_run, list_runs, resolve_checkpoint
    from picochat.train.watch import Watch, WatchedRun

    BITS = "bits per byte"
    TASKS = {
        BITS: "how well it predicts text that it never saw",
        "arc": "multiple choice",
        "gsm8k": "word problems",
        "tools": "sums for the calculator",
        "qa": "plain questions",
        "mmlu": "multiple choice of many subjects; name files below",
    }
    PER_PAGE = 5
    NOT_YET = "*Nothing measured yet: press **Measure** above.*"


@app.class_definition
@dataclass(frozen=True, kw_only=True)
class EvalNotebook(EvalAll):
    """All tasks at once, in a notebook or as a script."""

    load: tuple[str, ...] = ()
    """Models: runs or checkpoints (NAME, NAME@500, NAME@best or a folder). Without: the two newest runs."""
    max_problems: int | None = 20
    """Ask at most so many problems of a task, taken at equal distances."""
    sampling: Annotated[SamplingOptions, tyro.conf.arg(name="")] = field(
        default_factory=lambda: SamplingOptions(temperature=0, seed=0, max_tokens=128)
    )
    """How answers are written."""

    def __post_init__(self) -> None:
        if not self.load:
            object.__setattr__(self, "load", newest_runs(Path(self.runs_dir)))
        if self.load:
            super().__post_init__()


@app.function
def split_names(text: str) -> tuple[str, ...]:
    """Return the parts of a list with commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


@app.function
def newest_runs(folder: Path, count: int = 2) -> tuple[str, ...]:
    """Return the names of the newest runs that have a checkpoint, oldest of them first."""
    runs = [run for run in list_runs(folder) if run.checkpoints()]
    runs.sort(key=lambda run: run.info()["created"])
    return tuple(run.name for run in runs[-count:])


@app.cell(hide_code=True)
def _():
    mo.md("""
    # What does it know?

    A loss says how well a model predicts text. It does not say what the model can *do*. Here you ask it:
    facts that it read about but was never asked, sums with numbers it never saw, choices. And you watch
    runs while they train, in this window or anywhere else on this machine.

    Every score is a guess from a few problems, so each comes with its **95 % interval**: the true score, on
    all such problems there could be, mostly lies in there. Two scores with intervals that overlap widely
    may be the same.
    """)
    return


@app.cell
def _():
    LIVE = live.is_live()
    options = live.options(
        EvalNotebook, prog="notebooks/eval.py", summary="ask models what they know, and compare them"
    )
    session = live.Session()
    return LIVE, options, session


@app.cell
def _(LIVE, options):
    no_runs = (
        f"There is no run with a checkpoint in {options.runs_dir} yet. Train a model first: "
        "notebooks/pretrain.py does it in a page, `picochat demo` goes the whole way from text to a chat. "
        "Then come back. (Runs of another folder: --runs-dir FOLDER.)"
    )
    if not options.load and not LIVE and not mo.running_in_notebook():
        print(f"error: {no_runs}", file=sys.stderr)
        sys.exit(2)
    batch_findings = None
    if not LIVE and options.load:
        try:
            _folders = options.checkpoints()
            _models = options.measure()
            options.report(_models, _folders)
        except UserError as _error:
            print(f"error: {_error}", file=sys.stderr)
            sys.exit(2)
        batch_findings = Findings(models=tuple(_models), texts={})
    work = shared("eval")
    return batch_findings, no_runs, work


@app.cell(hide_code=True)
def _(options):
    runs_dir = mo.ui.text(value=options.runs_dir, label="folder of runs")
    rescan = mo.ui.button(value=0, on_click=lambda count: count + 1, label="Look again")
    mo.hstack([runs_dir, rescan], justify="start")
    return rescan, runs_dir


@app.cell
def _(rescan, runs_dir):
    _ = rescan.value  # each press looks into the folder again
    runs = list_runs(Path(runs_dir.value))
    known = [f"{run.name}@{step}" for run in runs for step in run.checkpoints()]
    return known, runs


@app.cell(hide_code=True)
def _(known, no_runs, options):
    _newest = {spec.rpartition("@")[0]: spec for spec in known}
    _named = [_newest.get(spec, spec) for spec in options.load]
    checkpoints = mo.ui.multiselect(
        options=known,
        value=[spec for spec in _named if spec in known],
        label="checkpoints",
        full_width=True,
    )
    elsewhere = mo.ui.text(
        value=", ".join(spec for spec in _named if spec not in known),
        placeholder="folders of models elsewhere, with a comma between",
        label="and",
        full_width=True,
    )
    mo.vstack(
        [
            mo.md("""
            ## 1. Choose models

            A checkpoint is a model as it was after some steps: `demo@500` is the run *demo* after 500.
            Choose two or more to compare them: before and after fine-tuning, or one run at several steps.
            """),
            checkpoints if known else mo.callout(mo.md(no_runs), kind="warn"),
            elsewhere,
        ]
    )
    return checkpoints, elsewhere


@app.cell(hide_code=True)
def _(options):
    tasks = mo.ui.multiselect(
        options={f"{name}: {about}": name for name, about in TASKS.items()},
        value=[f"{name}: {about}" for name, about in TASKS.items() if name != "mmlu" or options.mmlu],
        label="what to ask",
        full_width=True,
    )
    max_problems = mo.ui.slider(
        steps=sorted({4, 8, 12, 20, 32, 50, 100, 200, 400, options.max_problems or 400}),
        value=options.max_problems or 400,
        label="problems of each kind",
        show_value=True,
    )
    max_tokens = mo.ui.slider(
        steps=sorted({32, 64, 128, 256, 512, 1024, options.sampling.max_tokens}),
        value=options.sampling.max_tokens,
        label="tokens an answer may have",
        show_value=True,
    )
    num_samples = mo.ui.slider(1, 16, value=options.num_samples, label="answers per problem", show_value=True)
    temperature = mo.ui.slider(
        0, 1.5, step=0.1, value=options.sampling.temperature, label="temperature", show_value=True
    )
    scoring = mo.ui.dropdown(["letter", "text", "written"], value=options.scoring, label="choices scored by")
    files = mo.ui.dictionary(
        {
            name: mo.ui.text(
                value=", ".join(getattr(options, name, ())),
                placeholder="none" if name == "mmlu" else "the built-in world's",
                label=name,
                full_width=True,
            )
            for name in TASKS
        }
    )
    mo.vstack(
        [
            mo.md("""
            ## 2. Ask them

            The built-in world keeps problems back that no training file holds. Few problems are quick and
            tell little; more make the intervals narrow.
            """),
            tasks,
            mo.hstack([max_problems, max_tokens], justify="start", gap=2),
            mo.accordion(
                {
                    "More settings": mo.vstack(
                        [
                            mo.md("""
                            Several answers per problem need a temperature over 0; they show how often one
                            of them is right (*pass@k*). Choices are scored by the likeliest **letter**, by
                            the likeliest **text** of a choice, or by what the model **writes**.
                            """),
                            mo.hstack([num_samples, temperature, scoring], justify="start", gap=2),
                        ]
                    ),
                    "Your own files": mo.vstack(
                        [mo.md("Files or folders, with a comma between."), *files.elements.values()]
                    ),
                }
            ),
        ]
    )
    return files, max_problems, max_tokens, num_samples, scoring, tasks, temperature


@app.cell
def _(
    checkpoints,
    elsewhere,
    files,
    max_problems,
    max_tokens,
    num_samples,
    options,
    runs_dir,
    scoring,
    tasks,
    temperature,
    work,
):
    def make_plan() -> Plan:
        """Return what the settings ask for; runs on the thread that measures."""
        specs = (*checkpoints.value, *split_names(elsewhere.value))
        if not specs:
            raise UserError("choose a checkpoint first")
        own = {name: split_names(text) for name, text in files.value.items()}
        if "mmlu" in tasks.value and not own["mmlu"]:
            raise UserError("the built-in world has no MMLU: name its files under 'Your own files'")
        # What has no control on the page is as the command line says.
        asked = replace(
            options,
            load=specs,
            runs_dir=runs_dir.value,
            max_problems=max_problems.value,
            num_samples=num_samples.value,
            scoring=scoring.value,
            sampling=replace(
                options.sampling,
                temperature=temperature.value,
                seed=options.sampling.seed or 0,
                max_tokens=max_tokens.value,
            ),
            arc=own["arc"],
            mmlu=own["mmlu"],
            gsm8k=own["gsm8k"],
            tools=own["tools"],
            qa=own["qa"],
        )
        jobs = [job for job in asked.jobs(BadRows.of(asked.on_bad_row)) if job.task.name in tasks.value]
        return Plan(
            specs=specs,
            jobs=tuple(jobs),
            texts=(own[BITS] or (builtin_text(),)) if BITS in tasks.value else (),
            max_documents=4 * max_problems.value,
            sampling=asked.sampling,
            num_samples=asked.num_samples,
            runs_dir=asked.runs_dir,
            device=asked.device,
            dtype=asked.dtype,
        )

    def begin(_) -> None:
        work.start(lambda publish: measure(make_plan(), publish))

    return (begin,)


@app.cell(hide_code=True)
def _(begin, work):
    measure_button = mo.ui.button(label="Measure", kind="success", on_change=begin)
    stop_button = mo.ui.button(label="Stop", kind="warn", on_change=lambda _: work.stop())
    mo.hstack([measure_button, stop_button], justify="start")
    return measure_button, stop_button


@app.cell
def _(batch_findings, session, work):
    def found() -> Findings:
        """Return what is known so far."""
        return batch_findings or work.value or Findings(texts={})

    live.view(lambda: progress_note(found(), work), work, session, every=0.3)
    return (found,)


@app.function
def progress_note(found: Findings, work) -> mo.Html:
    """Return how far the measuring is."""
    if work.state == "failed":
        return live.trouble(work.error)
    if not found.models and work.state == "idle":
        return mo.md(NOT_YET)
    doing = found.doing or "measured"
    if work.state == "stopped":
        doing = "stopped; what was measured stays"
    share = found.done / max(found.total, 1)
    count = f" ({found.done} of {found.total} problems and documents)" if found.total else ""
    return mo.vstack([mo.Html(f"<p>{html.escape(doing + count)}</p>"), mo.Html(tables.bar_html(share))])


@app.cell(hide_code=True)
def _():
    with_ways = mo.ui.checkbox(label="also how it got there: thoughts, calls of the calculator, endings")
    mo.vstack([mo.md("## 3. The scores"), with_ways])
    return (with_ways,)


@app.cell
def _(found, session, with_ways, work):
    live.view(lambda: scores_view(found(), with_ways.value), work, session, every=0.5)
    return


@app.function
def scores_view(found: Findings, with_ways: bool) -> mo.Html:
    """Return all scores as a figure and a table."""
    models = [model for model in found.models if model.tasks]
    parts = []
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
            mo.md("""
            **Bits per byte**: how many bits the model needs for each byte of a text it never saw, if it is
            used to compress it. Unlike the loss per token it can be compared between tokenizers.
            """),
            comparison.bits_figure(points),
        ]
    return mo.vstack(parts or [mo.md(NOT_YET)])


@app.cell(hide_code=True)
def _(batch_findings, checkpoints, elsewhere):
    _specs = (*checkpoints.value, *split_names(elsewhere.value))
    if batch_findings is not None:
        _names = [model.name for model in batch_findings.models]
    else:
        _names = short_names(list(dict.fromkeys(_specs)))
    first = mo.ui.dropdown(_names, value=_names[0] if _names else None, label="from")
    second = mo.ui.dropdown(_names, value=_names[-1] if _names else None, label="to")
    mo.vstack(
        [
            mo.md("""
            ## 4. Where two of them differ

            Two models asked the same problems can be compared problem by problem. That tells more than two
            scores: what one gained and what it lost. The interval of the difference is *paired*; where it
            does not touch the dotted line, the two are really different.
            """),
            mo.hstack([first, second], justify="start"),
        ]
    )
    return first, second


@app.cell
def _(first, found, second, session, work):
    live.view(lambda: difference_view(found(), first.value, second.value), work, session, every=0.5)
    return


@app.function
def pick(found: Findings, *names: str | None) -> list[ModelScores]:
    """Return the models of these names that have scores, each once."""
    by_name = {model.name: model for model in found.models if model.tasks}
    return [by_name[name] for name in dict.fromkeys(names) if name in by_name]


@app.function
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


@app.cell
def _(found, session, work):
    live.view(lambda: trend_view(found()), work, session, every=0.5)
    return


@app.function
def trend_view(found: Findings) -> mo.Html:
    """Return the scores over the steps of a run of which several checkpoints were measured."""
    runs = compare.trends(found.models)
    if not runs:
        return mo.md(
            "*Choose several checkpoints of one run to see here how its scores grow over its training.*"
        )
    return mo.as_html(comparison.trend_figure(runs, title="Scores over training"))


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## 5. Is it as sure as it is right?

    A model that gives its choice 80 % should be right in 80 % of such cases. Points on the dotted line are
    *calibrated*; under it the model is too sure of itself, over it too shy.
    """)
    return


@app.cell
def _(found, session, work):
    live.view(lambda: calibration_view(found()), work, session, every=0.5)
    return


@app.function
def calibration_view(found: Findings) -> mo.Html:
    """Return how right the models are at which confidence, for each task that shows confidence."""
    parts = []
    for task in dict.fromkeys(task for model in found.models for task in model.tasks):
        figure = calibration_figure([model for model in found.models if task in model.tasks], task)
        if figure is not None:
            parts += [mo.md(f"**{task}**"), figure]
    return mo.vstack(parts) if parts else mo.md("*Needs multiple choice, scored by letter or text.*")


@app.cell(hide_code=True)
def _():
    browsed = mo.ui.dropdown([name for name in TASKS if name != BITS], value="gsm8k", label="task")
    kind = mo.ui.radio(["all", "right", "wrong", "changed"], value="all", inline=True, label="show")
    containing = mo.ui.text(placeholder="any text", label="holding", debounce=300)
    page = mo.ui.number(1, 1000, value=1, label="page")
    mo.vstack(
        [
            mo.md("""
            ## 6. Problem by problem

            What exactly did it say? *Right* and *wrong*: all models are. *Changed*: they differ. The models
            are the two chosen in part 4.
            """),
            mo.hstack([browsed, kind, containing, page], justify="start", gap=1.5),
        ]
    )
    return browsed, containing, kind, page


@app.cell
def _(browsed, containing, first, found, kind, page, second, session, work):
    def _draw():
        models = pick(found(), first.value, second.value)
        return examples_view(models, browsed.value, kind.value, containing.value, int(page.value or 1))

    live.view(_draw, work, session, every=1.0)
    return


@app.function
def examples_view(
    models: list[ModelScores], task: str, kind: browser.Kind, containing: str, page: int
) -> mo.Html:
    """Return a page of single problems."""
    models = [model for model in models if task in model.tasks]
    if not models:
        return mo.md(f"*No {task} problem was asked yet.*")
    scores = [model.tasks[task] for model in models]
    found = browser.choose(scores, kind, containing=containing, page=page, per_page=PER_PAGE)
    pages = -(-found.total // PER_PAGE)
    return mo.vstack(
        [
            mo.md(f"{found.total} problems, page {page} of {pages}." if found.total else "No such problem."),
            mo.Html(browser.STYLE + browser.examples_html(models, task, found.indices)),
        ]
    )


@app.cell(hide_code=True)
def _():
    report_path = mo.ui.text(value="report.html", label="file")
    report_button = mo.ui.run_button(label="Write a report")
    mo.vstack(
        [
            mo.md("A report is one HTML file with all figures and all answers. It needs no server."),
            mo.hstack([report_path, report_button], justify="start"),
        ]
    )
    return report_button, report_path


@app.cell(hide_code=True)
def _(found, report_button, report_path, runs_dir, work):
    _said = mo.md("")
    if report_button.value:
        if work.state == "working" or not pick(found(), *(model.name for model in found().models)):
            _said = mo.callout(mo.md("Measure first, to the end."), kind="warn")
        else:
            try:
                write_page(found(), Path(report_path.value), Path(runs_dir.value))
                _said = mo.callout(mo.md(f"Wrote `{report_path.value}`."), kind="success")
            except (OSError, UserError) as _error:
                _said = mo.callout(mo.plain_text(str(_error)), kind="danger")
    mo.vstack([_said])
    return


@app.function
def write_page(found: Findings, path: Path, runs_dir: Path) -> None:
    """Write all that was found to an HTML file."""
    tasks = found.models[0].tasks.keys()
    models = [model for model in found.models if model.tasks.keys() == tasks]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_report(models, [resolve_checkpoint(model.spec, runs_dir) for model in models], path)


@app.cell(hide_code=True)
def _(runs):
    _by_age = sorted(runs, key=lambda run: run.info()["created"])
    _going = [run.name for run in _by_age if run.status()["state"] in ("starting", "running", "paused")]
    followed = mo.ui.multiselect(
        options=[run.name for run in _by_age],
        value=_going or [run.name for run in _by_age[-3:]],
        label="runs",
        full_width=True,
    )
    mo.vstack(
        [
            mo.md("""
            ## 7. Watch runs while they train

            A run may train in a terminal, in another notebook, on several processes: everything it says
            stands in its folder. Runs that are training are chosen already, and this page follows them.
            """),
            followed,
        ]
    )
    return (followed,)


@app.cell
def _(followed, runs_dir):
    watch = Watch([find_run(name, Path(runs_dir.value)) for name in followed.value])
    return (watch,)


@app.cell(hide_code=True)
def _(followed, watch):
    _usual = ["loss", "held-out bpb", "held-out val_loss", "grad norm", "tokens per second"]
    _found = [name for run in watch.runs for name in run.metrics()]
    metric = mo.ui.dropdown(list(dict.fromkeys(_usual + _found)), value="loss", label="curve")
    smoothing = mo.ui.slider(
        steps=[1, 5, 10, 20, 50, 100, 200], value=20, label="mean over steps", show_value=True
    )
    log_x = mo.ui.checkbox(label="logarithmic steps")
    log_y = mo.ui.checkbox(label="logarithmic values")
    listened = mo.ui.dropdown(
        list(followed.value), value=followed.value[-1] if followed.value else None, label="run"
    )
    mo.hstack([metric, smoothing, log_x, log_y], justify="start", gap=1.5)
    return listened, log_x, log_y, metric, smoothing


@app.cell
def _(log_x, log_y, metric, session, smoothing, watch):
    def _draw():
        return curves_view(
            watch, metric.value, smooth_over=smoothing.value, log_x=log_x.value, log_y=log_y.value
        )

    live.view(_draw, watch, session, every=1.0)
    return


@app.function
def curves_view(watch: Watch, metric: str, *, smooth_over: int, log_x: bool, log_y: bool) -> mo.Html:
    """Return a metric of the runs over the steps, and where each run stands."""
    if not watch.runs:
        return mo.md("*Choose a run.*")
    curves = []
    for place, run in enumerate(watch.runs):
        steps, values = run.curve(metric)
        if len(steps):
            curve = Curve(name=run.name, steps=steps.tolist(), values=values.tolist(), series=place)
            curves.append(curve)
    figure = loss_figure(curves, smooth_over=smooth_over, y_title=metric, log_x=log_x, log_y=log_y)
    return mo.vstack([figure, runs_table(watch.runs)])


@app.function
def runs_table(runs: list[WatchedRun]) -> mo.Html:
    """Return where each run stands."""
    rows = []
    for run in runs:
        steps = run.status.get("steps", run.info["options"].get("steps", "?"))
        cells = [run.info["stage"], run.status["state"], f"{run.status['step']} / {steps}"]
        for name in ("loss", "held-out bpb", "held-out val_loss", "tokens per second"):
            values = run.curve(name)[1]
            form = ",.0f" if name == "tokens per second" else ".3f"
            cells.append(format(values[-1], form) if len(values) else "")
        cells.append("" if run.seconds_left is None else age(run.seconds_left))
        rows.append((run.name, cells))
    head = ["run", "stage", "state", "step", "loss", "held-out bpb", "held-out loss", "tokens/s", "left"]
    return mo.Html(tables.table_html(head, rows))


@app.cell(hide_code=True)
def _(listened, runs_dir):
    def _send(command):
        if listened.value is not None:
            find_run(listened.value, Path(runs_dir.value)).send(command)

    pause_button = mo.ui.button(label="Pause", on_change=lambda _, send=_send: send("pause"))
    resume_button = mo.ui.button(label="Go on", on_change=lambda _, send=_send: send("resume"))
    save_button = mo.ui.button(label="Save a checkpoint", on_change=lambda _, send=_send: send("checkpoint"))
    mo.vstack(
        [
            mo.md("""
            **What it writes.** Now and then a run lets its model go on with the same few beginnings. The
            buttons ask the process that trains the run; it answers within one step. A checkpoint saved now
            can be measured above (*Look again* finds it).
            """),
            mo.hstack([listened, pause_button, resume_button, save_button], justify="start"),
        ]
    )
    return pause_button, resume_button, save_button


@app.cell
def _(listened, session, watch):
    live.view(lambda: samples_view(watch, listened.value), watch, session, every=1.0)
    return


@app.function
def samples_view(watch: Watch, name: str | None) -> mo.Html:
    """Return what a run wrote, the newest first."""
    samples = [sample for run in watch.runs if run.name == name for sample in run.samples()]
    return mo.Html(sample_html(samples)) if samples else mo.md("*No sample yet.*")


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## What to try next

    - Measure one run at several steps: which task is learned first, and which never?
    - Ask for 8 answers per problem at temperature 0.8, and see how much more often one of them is right.
    - Look for a problem that fine-tuning *lost*: part 6, *changed*.
    - Give the models your own problems, in the formats that `picochat eval gsm8k --help` and its relatives
      name.

    The same as a batch: `python notebooks/eval.py -- --load RUN --html report.html`. The options are those of
    `picochat eval all`.
    """)
    return


if __name__ == "__main__":
    app.run()
