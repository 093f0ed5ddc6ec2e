import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="picochat: what does it know?")

with app.setup(hide_code=True):
    import sys
    from dataclasses import dataclass, field, replace
    from pathlib import Path
    from typing import Annotated

    import marimo as mo
    import tyro

    from notebooks import eval_views as views
    from notebooks import live
    from notebooks.layout import controls, only_changes, ready, text
    from picochat.background import shared
    from picochat.commands.eval_tasks import EvalAll
    from picochat.data.bad_rows import BadRows
    from picochat.engine.options import SamplingOptions
    from picochat.errors import UserError
    from picochat.eval.live import Findings, Plan, builtin_text, measure
    from picochat.eval.scores import short_names
    from picochat.plots import watched
    from picochat.tasks.registry import LABELS
    from picochat.train.run_dir import find_run, list_runs
    from picochat.train.watch import Watch

    BITS = "bits per byte"
    TASKS = {
        BITS: "how well it predicts text that it never saw",
        "arc": "a question with some answers to choose from",
        "gsm8k": "sums told as a story",
        "tools": "sums for the calculator",
        "qa": "facts that it read of, asked for by name",
        "mmlu": "name files below",
    }
    ASKED = {
        f"{LABELS[name]} ({name}): {about}" if name in LABELS else f"{name}: {about}": name
        for name, about in TASKS.items()
    }


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

    <em class="pc-preparing">Preparing the page …</em>
    """)
    return


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


@app.cell
def _():
    LIVE = live.is_live()
    options = live.options(
        EvalNotebook, prog="notebooks/eval.py", summary="ask models what they know, and compare them"
    )
    session = live.Session()
    ready()
    return LIVE, options, session


@app.cell
def _(LIVE, options):
    no_runs = (
        f"There is no run with a checkpoint in {options.runs_dir} yet. Train a model first: "
        "`just app pretrain` does it in a page, `picochat demo` goes the whole way from text to a chat. "
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
            text("""
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
        options=ASKED,
        value=[said for said, name in ASKED.items() if name != "mmlu" or options.mmlu],
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
                label=f"{LABELS[name]} ({name})" if name in LABELS else f"{name} (.txt, .jsonl, .parquet)",
                full_width=True,
            )
            for name in TASKS
        }
    )
    mo.vstack(
        [
            text("""
            ## 2. Ask them

            The built-in world keeps problems back that no training file holds. Few problems are quick and
            tell little; more make the intervals narrow.
            """),
            tasks,
            controls(max_problems, max_tokens),
            mo.accordion(
                {
                    "More settings": mo.vstack(
                        [
                            text("""
                            Several answers per problem need a temperature over 0; they show how often one
                            of them is right (*pass@k*). Choices are scored by the likeliest **letter**, by
                            the likeliest **text** of a choice, or by what the model **writes**.
                            """),
                            controls(num_samples, temperature, scoring),
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


@app.cell
def _(work):
    # What can be pressed follows what is going on: the views below see every change, and tell.
    get_measuring, set_measuring = mo.state(work.state == "working")
    tell_measuring = only_changes(set_measuring, work.state == "working")
    get_states, set_states = mo.state({})
    tell_states = only_changes(set_states, {})
    return get_measuring, get_states, tell_measuring, tell_states


@app.cell(hide_code=True)
def _(begin, get_measuring, work):
    measure_button = mo.ui.button(label="Measure", kind="success", on_change=begin, disabled=get_measuring())
    stop_button = mo.ui.button(
        label="Stop", kind="warn", on_change=lambda _: work.stop(), disabled=not get_measuring()
    )
    controls(measure_button, stop_button)
    return measure_button, stop_button


@app.cell
def _(batch_findings, session, tell_measuring, work):
    def found() -> Findings:
        """Return what is known so far."""
        return batch_findings or work.value or Findings(texts={})

    def _draw():
        tell_measuring(work.state == "working")
        return views.progress_note(found(), work)

    live.view(_draw, work, session, every=0.3)
    return (found,)


@app.cell(hide_code=True)
def _():
    with_ways = mo.ui.checkbox(label="also how it got there: thoughts, calls of the calculator, endings")
    mo.vstack(
        [
            text("""
            ## 3. The scores

            Each point is a share of right answers with its interval. A short grey line is **chance**: what
            guessing would score. An answer is right by what it says in the end, whatever the way there, luck
            included: the number behind `####`; the chosen letter; of plain questions the name, in small or
            capital letters and within a sentence too.
            """),
            with_ways,
        ]
    )
    return (with_ways,)


@app.cell
def _(found, session, with_ways, work):
    live.view(lambda: views.scores_view(found(), with_ways.value), work, session, every=0.5)
    return


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
            text("""
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
    live.view(lambda: views.difference_view(found(), first.value, second.value), work, session, every=0.5)
    return


@app.cell
def _(found, session, work):
    live.view(lambda: views.trend_view(found()), work, session, every=0.5)
    return


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
    live.view(lambda: views.calibration_view(found()), work, session, every=0.5)
    return


@app.cell(hide_code=True)
def _():
    browsed = mo.ui.dropdown(
        {said: name for name, said in LABELS.items()}, value=LABELS["gsm8k"], label="task"
    )
    kind = mo.ui.radio(["all", "right", "wrong", "changed"], value="all", inline=True, label="show")
    containing = mo.ui.text(placeholder="any text", label="that hold the text", debounce=300)
    page = mo.ui.number(1, 1000, value=1, label="page")
    mo.vstack(
        [
            text("""
            ## 6. Problem by problem

            What exactly did it say? *Right* and *wrong*: all models are. *Changed*: they differ. The models
            are the two chosen in part 4.
            """),
            controls(browsed, kind, containing, page),
        ]
    )
    return browsed, containing, kind, page


@app.cell
def _(browsed, containing, first, found, kind, page, second, session, work):
    def _draw():
        models = views.pick(found(), first.value, second.value)
        return views.examples_view(models, browsed.value, kind.value, containing.value, int(page.value or 1))

    live.view(_draw, work, session, every=1.0)
    return


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
        if work.state == "working" or not views.pick(found(), *(model.name for model in found().models)):
            _said = mo.callout(mo.md("Measure first, to the end."), kind="warn")
        else:
            try:
                views.write_page(found(), Path(report_path.value), Path(runs_dir.value))
                _said = mo.callout(mo.md(f"Wrote `{report_path.value}`."), kind="success")
            except (OSError, UserError) as _error:
                _said = mo.callout(mo.plain_text(str(_error)), kind="danger")
    mo.vstack([_said])
    return


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
            text("""
            ## 7. Watch runs while they train

            A run may train in a terminal, in another notebook, on several processes: everything it says
            stands in its folder. Runs that are training are chosen already, and this page follows them. Each
            stage has a picture of its own, for its numbers mean something else.
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
def _():
    smoothing = mo.ui.slider(
        steps=[1, 5, 10, 20, 50, 100, 200], value=20, label="mean over steps", show_value=True
    )
    log_x = mo.ui.checkbox(label="logarithmic steps")
    log_y = mo.ui.checkbox(label="logarithmic values")
    more = mo.ui.checkbox(label="all that was measured, by its name in metrics.jsonl")
    return log_x, log_y, more, smoothing


@app.cell(hide_code=True)
def _(log_x, log_y, more, smoothing, watch):
    _found = [name for run in watch.runs for name in run.metrics()]
    metric = mo.ui.dropdown(watched.choices(_found, more=more.value), value="loss", label="curve")
    controls(metric, more, smoothing, log_x, log_y)
    return (metric,)


@app.cell
def _(log_x, log_y, metric, session, smoothing, tell_states, watch):
    def _draw():
        tell_states({run.name: run.status["state"] for run in watch.runs})
        return views.curves_view(
            watch, metric.value, smooth_over=smoothing.value, log_x=log_x.value, log_y=log_y.value
        )

    live.view(_draw, watch, session, every=1.0)
    return


@app.cell(hide_code=True)
def _(followed):
    listened = mo.ui.dropdown(
        list(followed.value), value=followed.value[-1] if followed.value else None, label="run"
    )
    mo.vstack(
        [
            text("""
            **What it writes.** Now and then a run lets its model go on with the same few beginnings. The
            buttons ask the process that trains the run; it answers within one step. A checkpoint saved now
            can be measured above (*Look again* finds it).
            """),
            listened,
        ]
    )
    return (listened,)


@app.cell(hide_code=True)
def _(get_states, listened, runs_dir):
    def _send(command):
        find_run(listened.value, Path(runs_dir.value)).send(command)

    _can, _why_not = views.what_can_be_asked(get_states(), listened.value)
    pause_button = mo.ui.button(
        label="Pause", on_change=lambda _, send=_send: send("pause"), disabled=not _can["pause"]
    )
    resume_button = mo.ui.button(
        label="Go on", on_change=lambda _, send=_send: send("resume"), disabled=not _can["resume"]
    )
    save_button = mo.ui.button(
        label="Save a checkpoint",
        on_change=lambda _, send=_send: send("checkpoint"),
        disabled=not _can["checkpoint"],
    )
    controls(pause_button, resume_button, save_button, mo.md(_why_not))
    return pause_button, resume_button, save_button


@app.cell
def _(listened, session, watch):
    live.view(lambda: views.samples_view(watch, listened.value), watch, session, every=1.0)
    return


@app.cell(hide_code=True)
def _(session):
    _ = session  # stands below the rest, so it comes when that does
    mo.md("""
    ## What to try next

    - Measure one run at several steps: which task is learned first, and which never?
    - Ask for 8 answers per problem at temperature 0.8, and see how much more often one of them is right.
    - Look for a problem that fine-tuning *lost*: part 6, *changed*.
    - Give the models your own problems, in the formats that `picochat eval gsm8k --help` and its relatives
      name.
    - **And now talk with it**, in another terminal (this one serves the page until Ctrl-C):
      `picochat chat --load RUN`, with the name of a run that was fine-tuned or practised. The workbench,
      `picochat workbench --load RUN`, shows every token with those it competed with.

    The same as a batch: `python notebooks/eval.py -- --load RUN --html report.html`. The options are those of
    `picochat eval all`.
    """)
    return


if __name__ == "__main__":
    app.run()
