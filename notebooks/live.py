"""What the notebooks share: whether someone looks on, a run behind a page, views that repaint themselves.

The pattern: a worker thread trains (picochat.train.controller). Every picture is a cell of its own that draws
once and leaves a painter thread behind, which draws again whenever there is news. Cells never run again for
it, so the page answers while the model trains.
"""

import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import marimo as mo

from picochat.arguments import parse_options
from picochat.commands.training import Build, train
from picochat.errors import UserError
from picochat.train.controller import Controller, NoRunError, attach
from picochat.train.controller import replace as replace_controller
from picochat.train.events import StepDone
from picochat.train.history import History
from picochat.train.options import RunOptions
from picochat.train.run import Run
from picochat.train.run_dir import RunDir

T = TypeVar("T")
Options = TypeVar("Options")
RunOptionsType = TypeVar("RunOptionsType", bound=RunOptions)

SHARE_OF_DRAWING = 0.3
"""A painter draws for at most this share of the time; the rest is for training."""
PATIENCE = 0.08
"""Seconds that a cell waits for the worker; what comes later is drawn by the painter."""


def is_live() -> bool:
    """Whether somebody looks at the notebook in a browser; not so in scripts, exports and tests."""
    return mo.app_meta().request is not None


def options(options_class: type[Options], *, prog: str, summary: str = "", args: Sequence[str] | None = None):
    """Return the options that stand behind `--` on the command line.

    A mistake ends a script with one line and exit code 2, and shows on the page in a browser.
    """
    args = sys.argv[1:] if args is None else list(args)
    if args[:1] == ["--"]:
        args = args[1:]
    return checked(lambda: parse_options(options_class, prog=prog, args=args, summary=summary))


def refuse(error: UserError) -> NoReturn:
    """Go no further because of a mistake of the user's: a word on the page, or exit code 2."""
    if is_live():
        mo.stop(True, trouble(error))
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(2)


def checked(do: Callable[[], T]) -> T:
    """Return do(); a mistake of the user's in it is told, and ends the cell or the script."""
    try:
        return do()
    except UserError as error:
        refuse(error)


def trouble(error: BaseException) -> mo.Html:
    """Return what the page shows of an error: a user's mistake as it is, a bug by its name."""
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return mo.callout(mo.plain_text(text), kind="danger")


class Session:
    """One loaded page. A global of the notebook holds it; painters end when it is gone, with the page."""


def where_default(options: object, **values: Any) -> dict[str, Any]:
    """Return the values of those options that are as they are without being given."""
    usual = type(options)()
    return {name: value for name, value in values.items() if getattr(options, name) == getattr(usual, name)}


def no_base(notebook: str, runs_dir: str, look_again: Any, *, needed: str, made_by: str) -> mo.Html:
    """Return what to do where there is no model to begin with; `made_by` is the notebook before this one."""
    text = mo.md(f"""
    **There is no {needed} model in `{Path(runs_dir).resolve()}` yet.** This stage begins with one.

    - Make one in the notebook `notebooks/{made_by}.py`, or
    - let `picochat demo` train all stages (`--small`: in a minute, but it will know little).

    Then press the button. If your runs are in another folder, open this notebook with
    `marimo run notebooks/{notebook}.py -- --runs-dir FOLDER`.
    """)
    return mo.callout(mo.vstack([text, look_again]), kind="warn")


def run_batch(stage: str, options: RunOptionsType, build: Build[RunOptionsType]) -> RunDir:
    """See a run through as the command line does, progress bar and all; return its directory."""
    return checked(lambda: train(stage, options, build))


def controller(
    stage: str,
    options: RunOptionsType,
    build: Build[RunOptionsType],
    *,
    is_new: bool = False,
) -> Controller:
    """Return the controller of the page's run.

    In a browser: the one that this process has for the stage, so that a page that is loaded again finds its
    run, still training; with `is_new` another one takes its place. In a script the run is seen through first,
    and the controller has it finished.
    """
    if is_live():
        put = replace_controller if is_new else attach
        return put(stage, lambda: Controller(builder(stage, options, build)))
    directory = run_batch(stage, options, build)
    finished = replace(options, run=directory.name, resume=True)
    controller = Controller(builder(stage, finished, build))
    while controller.state not in ("finished", "failed"):
        controller.wait(controller.version, 0.1)
    return controller


def builder(stage: str, options: RunOptionsType, build: Build[RunOptionsType]) -> Callable[[], Run]:
    """Return what builds the run for a controller: as `options` say, then, at every reset, anew beside it."""
    is_first = True

    def build_next() -> Run:
        nonlocal is_first
        now = options if is_first else replace(options, run=None, resume=False)
        run = build(name_freely(now, stage), progress=lambda what, done, total: None)
        is_first = False
        return run

    return build_next


def name_freely(options: RunOptionsType, stage: str) -> RunOptionsType:
    """Return the options with a name for the run that no folder has, unless it is resumed."""
    if options.resume:
        return options
    name = options.run or stage
    number, free = 1, options.run or f"{stage}-1"
    while (Path(options.runs_dir) / free).exists():
        number += 1
        free = f"{name}-{number}"
    return replace(options, run=free)


def buttons(controller: Controller, *, many: int = 10) -> mo.ui.dictionary:
    """Return the row of controls of a stage that trains. It has to be bound to a global name to work."""

    def button(label: str, do: Callable[[], object], tooltip: str, kind: Any = "neutral") -> Any:
        return mo.ui.button(label=label, on_click=lambda _: do(), tooltip=tooltip, kind=kind)

    return mo.ui.dictionary(
        {
            "Step 1": button("Step 1", controller.step, "one optimizer step, then stop"),
            "Step N": button(f"Step {many}", lambda: controller.step(many), f"{many} steps, then stop"),
            "Run": button("Run", controller.run, "train until the end or until Pause", "success"),
            "Pause": button("Pause", controller.pause, "stop after the step that is being made"),
            "Reset": button("Reset", controller.reset, "begin again from fresh weights; the run is kept"),
            "Save": button("Save", lambda: controller.save() and None, "write a checkpoint now"),
        }
    )


def row(controls: mo.ui.dictionary) -> mo.Html:
    """Return controls side by side."""
    return mo.hstack(list(controls.elements.values()), justify="start", wrap=True, gap=0.5)


def status(controller: Controller) -> mo.Html:
    """Return one line on how far the run is, with what went wrong or is worth knowing."""
    step, steps = controller.progress
    directory = controller.directory
    name = "" if directory is None else f" · `{directory.path}`"
    last = controller.history.last(StepDone) if controller.state == "running" else None
    speed = "" if last is None else f" · {last.tokens_per_second:,.0f} tokens a second"
    line = mo.md(f"**{_STATES[controller.state]}** · step **{step:,}** of {steps:,}{speed}{name}")
    notes = [mo.callout(mo.plain_text(note), kind="warn") for note in controller.notes]
    error = controller.error
    return mo.vstack([line, *notes, *([] if error is None else [trouble(error)])])


_STATES = {
    "building": "getting ready (the first time takes a while)",
    "paused": "waiting for you",
    "running": "training",
    "finished": "finished",
    "failed": "stopped by an error",
}


def view(
    draw: Callable[..., object],
    controller: Controller,
    session: Session,
    *,
    every: float = 0.5,
    ask: Callable[[], "Future[Any]"] | None = None,
    meanwhile: Callable[[], Any] | None = None,
) -> None:
    """Fill the output of the present cell with draw(), now and, in a browser, again whenever there is news.

    ask: sends a question to the worker (`Controller.call`); `draw` is given the answer. It must not be used
    to change anything: it is asked again for every repaint.
    meanwhile: returns an answer that needs no worker, or None; drawn at once, so that a control is not held
    up by the step that is being made.
    every: least seconds between two repaints.
    """
    version = controller.version
    live = is_live()
    now = _soonest(ask, meanwhile) if live and ask is not None and meanwhile is not None else ask
    mo.output.replace(_drawn(draw, now, PATIENCE if live else None))
    if live:
        arguments = (draw, ask, controller, weakref.ref(session), every, version)
        mo.Thread(target=_paint, args=arguments, name="picochat-painter", daemon=True).start()


def _soonest(ask: Callable[[], "Future[Any]"], meanwhile: Callable[[], Any]) -> Callable[[], "Future[Any]"]:
    """Return what asks the worker only where `meanwhile` has no answer."""

    def now() -> "Future[Any]":
        answer = meanwhile()
        if answer is None:
            return ask()
        future: Future[Any] = Future()
        future.set_result(answer)
        return future

    return now


def _drawn(
    draw: Callable[..., object], ask: Callable[[], "Future[Any]"] | None, patience: float | None
) -> object:
    """Return the picture, or what went wrong with it; a page never stays still without a word."""
    try:
        answers = () if ask is None else (ask().result(patience),)
        with _turn:
            return draw(*answers)
    except NotYet:
        return mo.md("*waiting for the model to finish its step …*")
    except NoRunError:
        return mo.md("*there is no model to look at*")
    except CancelledError:
        return mo.md("*this model was put aside for another one*")
    except Exception as error:
        return trouble(error)


_turn = threading.RLock()
"""Pictures are drawn one after the other: several threads that draw leave no time to the one that trains."""


def _paint(
    draw: Callable[..., object],
    ask: Callable[[], "Future[Any]"] | None,
    controller: Controller,
    session: "weakref.ref[Session]",
    every: float,
    version: int,
) -> None:
    thread = mo.current_thread()

    def is_over() -> bool:
        return thread.should_exit or session() is None

    is_drawn = ask is None
    while not is_over():
        newer = controller.wait(version, 0.5) if is_drawn else version
        if newer == version and is_drawn:
            if controller.is_closed:
                return
            continue
        version, is_drawn = newer, True
        began = time.thread_time()
        picture = _drawn(draw, ask, None)
        if is_over():
            return
        mo.output.replace(picture)
        pause_until = time.perf_counter() + max(every, (time.thread_time() - began) / SHARE_OF_DRAWING)
        while not is_over() and (left := pause_until - time.perf_counter()) > 0:
            time.sleep(min(left, 0.1))


def change_marks(history: History, batch_size: int | None) -> list[tuple[int, str]]:
    """Return what is to be written at each change of a run that began with `batch_size`."""
    marks = []
    before = (1.0, batch_size)
    for change in history.changes():
        words = []
        if change.lr_scale != before[0]:
            words.append(f"lr ×{change.lr_scale:g}")
        if change.batch_size != before[1]:
            words.append(f"batch {change.batch_size}")
        before = (change.lr_scale, change.batch_size)
        if words:
            marks.append((change.step, ", ".join(words)))
    return marks
