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
from typing import Any, NoReturn, TypeVar, cast

import marimo as mo

from notebooks.behind import Behind, Builder, RunOptionsType, keeping_start, name_freely
from notebooks.status import change_marks, status, trouble
from picochat.arguments import parse_options
from picochat.commands.training import Build, train
from picochat.errors import UserError
from picochat.train.controller import Controller, NoRunError, attach
from picochat.train.controller import replace as replace_controller
from picochat.train.options import RunOptions
from picochat.train.run_dir import RunDir

__all__ = [
    "Behind",
    "Builder",
    "Buttons",
    "Session",
    "buttons",
    "change_marks",
    "checked",
    "controller",
    "is_live",
    "keeping_start",
    "kept",
    "name_freely",
    "no_base",
    "options",
    "refuse",
    "row",
    "run_batch",
    "saved_steps",
    "status",
    "trouble",
    "view",
    "where_default",
]

T = TypeVar("T")
Options = TypeVar("Options")

SHARE_OF_DRAWING = 0.3
"""A painter draws for at most this share of the time; the rest is for training."""
PATIENCE = 0.08
"""Seconds that a cell waits for the worker; what comes later is drawn by the painter."""
FIRST_FOR_USER = 0.4
"""Seconds from the use of a control in which no step is begun and no other picture drawn."""
QUICK = 0.3
"""A view that is drawn anew as often as that is a line of text: it waits for no picture."""


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


class Session:
    """One loaded page. A global of the notebook holds it; painters end when it is gone, with the page."""

    def __init__(self) -> None:
        self.drawn: set[object] = set()
        """What draws the views that were filled once."""

    def is_new(self, draw: Callable[..., object]) -> bool:
        """Whether nothing was drawn by `draw` yet, or by the same lines of a cell."""
        lines = getattr(draw, "__code__", draw)
        is_new = lines not in self.drawn
        self.drawn.add(lines)
        return is_new


def saved_steps(options: RunOptions, *, most: int = 100) -> list[int]:
    """Return the steps at which a run saves its model, thinned out to about `most`, and its last."""
    every = options.save_every or options.steps
    while options.steps // every > most:
        every += options.save_every
    return [*range(0, options.steps, every), options.steps]


_kept: dict[str, Any] = {}


def kept(name: str, value: Any) -> dict[str, Any]:
    """Return `value` and `on_change` of a control such that a page loaded again has what was set last."""
    if not is_live():
        return {"value": value}

    def keep(value: Any) -> None:
        _kept[name] = value

    return {"value": _kept.get(name, value), "on_change": keep}


def where_default(options: object, **values: Any) -> dict[str, Any]:
    """Return the values of those options that are as they are without being given."""
    usual = type(options)()
    return {name: value for name, value in values.items() if getattr(options, name) == getattr(usual, name)}


def no_base(notebook: str, runs_dir: str, look_again: Any, *, needed: str, made_by: str) -> mo.Html:
    """Return what to do where there is no model to begin with; `made_by` is the notebook before this one."""
    text = mo.md(f"""
    **There is no {needed} model in `{Path(runs_dir).resolve()}` yet.** This stage begins with one.

    - Make one in the notebook {made_by}: `just app {made_by}`, in another terminal, or
    - let `picochat demo` train all stages (`--small`: in a minute, but it will know little).

    Then press the button. If your runs are in another folder, open this notebook with
    `just app {notebook} -- --runs-dir FOLDER`.
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
    keeps_start: bool = False,
) -> Behind[RunOptionsType]:
    """Return the controller of the page's run.

    In a browser: the one that this process has for the stage, so that a page that is loaded again finds its
    run, still training; with `is_new` another one takes its place. In a script the run is seen through first,
    and the controller has it finished.

    build: of the library, not of the notebook; see `Builder`. keeps_start: save the untrained model too.
    """

    if keeps_start:
        build = keeping_start(build)
    if is_live():
        put = replace_controller if is_new else attach
        found = put(stage, lambda: Behind(stage, options, build))
        return cast("Behind[RunOptionsType]", found)  # of this stage; its module may have been loaded again
    directory = run_batch(stage, options, build)
    finished = replace(options, run=directory.name, resume=True)
    controller = Behind(stage, finished, build)
    while controller.state not in ("finished", "failed"):
        controller.wait(controller.version, 0.1)
    return controller


class Buttons(mo.ui.dictionary):
    """The controls of a run. Those that do nothing after its end have a twin for then."""

    controller: Controller


_OVER = " (over)"


def buttons(controller: Controller, *, many: int = 10) -> Buttons:
    """Return the controls of a stage that trains. They have to be bound to a global name to work."""

    def save() -> None:
        controller.save()
        directory = controller.directory
        if controller.state == "finished" and directory is not None:
            mo.status.toast("It is saved already", f"{directory.path}, step {controller.progress[0]:,}")

    def button(label: str, do: Callable[[], object], tooltip: str, kind: Any = "neutral") -> dict[str, Any]:
        made = {label: mo.ui.button(label=label, on_click=lambda _: do(), tooltip=tooltip, kind=kind)}
        if label not in ("Reset", "Save"):
            over = mo.ui.button(label=label, tooltip="the run has ended", disabled=True)
            made[label + _OVER] = over
        return made

    made = Buttons(
        button("Step 1", controller.step, "one optimizer step, then stop")
        | button(f"Step {many}", lambda: controller.step(many), f"{many} steps, then stop")
        | button("Run", controller.run, "train until the end or until Pause", "success")
        | button("Pause", controller.pause, "stop after the step that is being made")
        | button("Reset", controller.reset, "begin again from fresh weights; the run is kept")
        | button("Save", save, "write a checkpoint now")
    )
    made.controller = controller
    return made


def row(controls: Buttons) -> None:
    """Show controls side by side, as the output of the present cell. After the end of a run few are left."""
    held = weakref.ref(controls)  # the page's; what is drawn must not keep the page

    def draw() -> mo.Html | None:
        there = held()
        if there is None:
            return None
        is_over = there.controller.state == "finished"
        shown = [
            button
            for name, button in there.elements.items()
            if (not name.endswith(_OVER) if not is_over else name + _OVER not in there.elements)
        ]
        return mo.hstack(shown, justify="start", wrap=True, gap=0.5)

    view(draw, controls.controller, controls, every=0.1)


def view(
    draw: Callable[..., object],
    controller: Controller,
    session: object,
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
    every: least seconds between two repaints; up to 0.3 for a line of text.
    session: painters end when it is gone.

    On a page that is being loaded the pictures come after all the text, each in its place.
    """
    version = controller.version
    live = is_live()
    is_quick = every <= QUICK
    is_loading = live and not is_quick and isinstance(session, Session) and session.is_new(draw)
    if live and not is_loading:
        _user_first(controller)
    is_there = False
    picture: object = mo.md("*preparing …*")
    if not is_loading:
        now = _soonest(ask, meanwhile) if live and ask is not None and meanwhile is not None else ask
        picture, is_there = _drawn(draw, now, PATIENCE if live else None, is_quick=is_quick)
    mo.output.replace(picture)
    if live:
        painter = _Painter(draw, ask, controller, weakref.ref(session), every)
        if is_there:
            painter.drawn, painter.shown = version, _text(picture)
        mo.Thread(target=painter.paint, name="picochat-painter", daemon=True).start()


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


def _text(picture: object) -> str | None:
    """Return what tells whether two pictures are the same; None if nothing does."""
    return picture.text if isinstance(picture, mo.Html) else None


def _drawn(
    draw: Callable[..., object],
    ask: Callable[[], "Future[Any]"] | None,
    patience: float | None,
    *,
    is_quick: bool = False,
) -> tuple[object, bool]:
    """Return the picture, or what went wrong with it; a page never stays still without a word.

    And whether that is all there is to show now; else an answer is on its way.
    """
    try:
        answers = () if ask is None else (ask().result(patience),)
        if is_quick:
            return draw(*answers), True
        with _turn:
            return draw(*answers), True
    except NotYet:
        return mo.md("*waiting for the model to finish its step …*"), False
    except NoRunError:
        return mo.md("*there is no model to look at*"), True
    except CancelledError:
        return mo.md("*this model was put aside for another one*"), True
    except Exception as error:
        return trouble(error), True


_turn = threading.RLock()
"""Pictures are drawn one after the other: several threads that draw leave no time to the one that trains."""


_others_from = 0.0
"""When painters may draw again; of `time.perf_counter`."""


def _user_first(controller: object) -> None:
    """Leave the processors to the answer that the user waits for, the browser's share of it included."""
    global _others_from
    _others_from = time.perf_counter() + FIRST_FOR_USER
    if isinstance(controller, Controller):
        controller.hold(FIRST_FOR_USER)


class _Painter:
    """Draws a view again and again, in a thread of its own. What looks as before is not sent again."""

    def __init__(
        self,
        draw: Callable[..., object],
        ask: Callable[[], "Future[Any]"] | None,
        controller: Controller,
        session: "weakref.ref[object]",
        every: float,
    ) -> None:
        self._draw, self._ask, self._controller = draw, ask, controller
        self._session, self._every = session, every
        self.drawn: int | None = None
        """Version of the controller that is on the page; None if nothing of it is."""
        self.shown: str | None = None
        """What the page has now."""

    def paint(self) -> None:
        """Draw whenever there is news, until the page is gone."""
        thread = mo.current_thread()

        def is_over() -> bool:
            return thread.should_exit or self._session() is None

        if self.drawn is not None:
            self._rest(self._every, is_over)
        while not is_over():
            version = self._controller.version
            if version == self.drawn:
                if self._controller.is_closed:
                    return
                self._controller.wait(version, 0.5)
                continue
            if self._every > QUICK and (left := _others_from - time.perf_counter()) > 0:
                time.sleep(left)
                continue
            self.drawn = version
            began = time.thread_time()
            picture, _ = _drawn(self._draw, self._ask, None, is_quick=self._every <= QUICK)
            if is_over():
                return
            text = _text(picture)
            if text is None or text != self.shown:
                mo.output.replace(picture)
            self.shown = text
            self._rest(max(self._every, (time.thread_time() - began) / SHARE_OF_DRAWING), is_over)

    def _rest(self, seconds: float, is_over: Callable[[], bool]) -> None:
        doing = _doing(self._controller)
        end = time.perf_counter() + seconds
        while not is_over() and (left := end - time.perf_counter()) > 0:
            if self._every <= QUICK and _doing(self._controller) != doing:
                break  # a button was pressed
            time.sleep(min(left, 0.05))


def _doing(controller: Controller) -> tuple[object, ...]:
    # What is watched is not always a run of this process.
    return getattr(controller, "state", None), getattr(controller, "is_pausing", None)
