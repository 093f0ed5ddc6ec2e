"""What the notebooks share: options, a run behind the page with its controls, what a page keeps.

The pattern: a worker thread trains (picochat.train.controller), and every picture repaints itself
(`painting.py`), so the page answers while the model trains.
"""

import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import marimo as mo

from notebooks.behind import Behind, Builder, RunOptionsType, keeping_start, name_freely
from notebooks.painting import Session, is_live, view
from notebooks.status import change_marks, status, trouble
from picochat.arguments import parse_options
from picochat.commands.training import Build, train
from picochat.errors import UserError
from picochat.train.controller import Controller, attach
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
