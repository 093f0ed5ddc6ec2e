import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="picochat: fine-tuning")

with app.setup:
    from dataclasses import replace
    from pathlib import Path

    import marimo as mo

    from notebooks import live
    from picochat.commands.sft import Sft
    from picochat.data.builtin.write import WorldFiles, default_world_dir
    from picochat.plots import answers, batches, style, token_marks
    from picochat.plots.curves import Curve, loss_figure
    from picochat.train.asked import Asked
    from picochat.train.batch_view import BatchView, view_batch
    from picochat.train.before_after import Beginning
    from picochat.train.controller import Controller, attach
    from picochat.train.controller import replace as replace_controller
    from picochat.train.events import EvalDone, StepDone
    from picochat.train.run_dir import list_runs
    from picochat.train.run_options import name_run, stored_options
    from picochat.train.sft import build_sft

    QUESTIONS = (
        "Hello!\n"
        "Who are you?\n"
        "Where does Mara live?\n"
        "Ben has 44 shells. He finds 18 more. How many shells does Ben have now?"
    )
    ANSWER_TOKENS = 64


@app.cell(hide_code=True)
def _():
    mo.md("""
    # Fine-tuning: from a model that goes on to a model that answers

    A pretrained model has read a lot and learned one thing: what comes next. Ask it something and it goes on
    with your text as a story would. Fine-tuning (*SFT*, supervised fine-tuning) shows it conversations and
    teaches it to speak **the assistant's part**.

    It is the same training as before, with one change: the loss counts **only the assistant's words**. The
    questions are read, but nobody wants the model to learn to ask them. That is the whole trick, and the first
    picture shows it.
    """)
    return


@app.cell
def _():
    LIVE = live.is_live()
    args = live.options(Sft, prog="notebooks/sft.py")
    session = live.Session()
    return LIVE, args, session


@app.cell(hide_code=True)
def _():
    look_again = mo.ui.button(label="Look for runs again", value=0, on_click=lambda count: count + 1)
    return (look_again,)


@app.cell
def _(args, look_again):
    look_again.value  # a run may have been trained elsewhere meanwhile
    bases = runs_of(args.runs_dir, "pretrain")
    unfinished = [name for name in runs_of(args.runs_dir, "sft") if is_unfinished(args.runs_dir, name)]
    if args.load and args.load not in bases:
        bases = [args.load, *bases]
    return bases, unfinished


@app.function
def runs_of(runs_dir: str, stage: str) -> list[str]:
    """Return the runs of a stage that have a checkpoint, newest first."""
    runs = [run for run in list_runs(Path(runs_dir)) if run.info()["stage"] == stage and run.checkpoints()]
    return [run.name for run in sorted(runs, key=lambda run: -run.info()["created"])]


@app.function
def is_unfinished(runs_dir: str, name: str) -> bool:
    """Whether a run can be gone on with."""
    [run] = [run for run in list_runs(Path(runs_dir)) if run.name == name]
    return run.status()["state"] != "finished" and not run.is_live()


@app.cell(hide_code=True)
def _(args, bases, look_again, unfinished):
    NEW = "a new run"
    setup = (
        mo.md("""
        ## 1. What to begin with, what to learn from

        {base} {resume}

        {with_builtin} {builtin_weight}

        {own}

        {steps} {batch_size} {lr} {seed}
        """)
        .batch(
            base=mo.ui.dropdown(bases, value=bases[0] if bases else None, label="begin with the model"),
            resume=mo.ui.dropdown([NEW, *unfinished], value=NEW, label="as"),
            with_builtin=mo.ui.checkbox(
                value=not args.data, label="conversations of the built-in world, with the weight"
            ),
            builtin_weight=mo.ui.number(start=0.0, stop=100.0, step=0.1, value=1.0),
            own=mo.ui.text_area(
                value="\n".join(args.data),
                placeholder="my/chat.jsonl:1.0",
                label="your own conversations: JSON-lines files, one a line, with a weight behind a colon",
                rows=2,
                full_width=True,
            ),
            steps=mo.ui.number(start=1, stop=100_000, value=args.steps, label="steps"),
            batch_size=mo.ui.number(start=1, stop=512, value=args.batch_size, label="rows per step"),
            lr=mo.ui.number(start=0.0, stop=1.0, step=0.0005, value=args.lr, label="learning rate"),
            seed=mo.ui.number(start=0, stop=2**31, value=args.seed, label="seed"),
        )
        .form(submit_button_label="Build this run")
    )
    mo.vstack([setup, look_again]) if bases else no_base(args.runs_dir, look_again)
    return NEW, setup


@app.function
def no_base(runs_dir: str, look_again) -> mo.Html:
    """Return what to do where there is no pretrained model."""
    return mo.callout(
        mo.vstack(
            [
                mo.md(f"""
                **There is no pretrained model in `{Path(runs_dir).resolve()}` yet.** Fine-tuning begins with one.

                - Train one in the notebook `notebooks/pretrain.py`, or
                - `picochat demo` trains all stages, `picochat demo --small` in a minute (it will know little).

                Then press the button. Where your runs are in another folder, open this notebook with
                `marimo run notebooks/sft.py -- --runs-dir FOLDER`.
                """),
                look_again,
            ]
        ),
        kind="warn",
    )
