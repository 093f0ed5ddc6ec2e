"""How the options of a run come about: from keywords, from the run that is resumed. Needs no torch."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from picochat.errors import UserError
from picochat.train.options import RunOptions
from picochat.train.run_dir import RunDir

Options = TypeVar("Options", bound=RunOptions)


def stored_options(options_class: type[Options], stage: str, run: str | None, runs_dir: str) -> Options:
    """Return the options that a run of `stage` was begun with, set to resume it."""
    if not run:
        raise UserError("--resume needs --run NAME, the run to go on with")
    directory = RunDir(Path(runs_dir) / run)
    if not directory.exists():
        raise UserError(f"--resume: there is no run at {directory.path}; leave --resume out to begin it")
    info = directory.info()
    if info["stage"] != stage:
        raise UserError(
            f"run {run} is of another stage; `picochat {info['stage']} --run {run} --resume` goes on with it"
        )
    known = {field.name for field in fields(options_class)} - options_class.ASKED_AGAIN
    row = {name: value for name, value in info["options"].items() if name in known}
    row = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    # A folder of runs may have been moved or renamed since.
    return options_class(**{**row, "run": run, "runs_dir": runs_dir, "resume": True})


def complete_options(options_class: type[Options], stage: str, given: Mapping[str, Any]) -> Options:
    """Return options from keywords: over those of the run if it is resumed, else over the defaults."""
    if given.get("resume"):
        stored = stored_options(options_class, stage, given.get("run"), given.get("runs_dir", "runs"))
        return replace(stored, **given)
    return name_run(options_class(**given), stage)


def name_run(options: Options, stage: str) -> Options:
    """Return the options with the name of a run: the given one, or the first free `STAGE-N`."""
    if options.run is not None:
        if not options.run or Path(options.run).name != options.run or options.run.startswith("."):
            raise UserError(f"--run {options.run!r}: a run's name is one plain folder name")
        directory = RunDir(options.directory)
        if directory.exists() and not options.resume:
            raise UserError(
                f"{directory.path} holds a run already; give --resume to go on with it, or another --run name"
            )
        return options
    number = 1
    while (Path(options.runs_dir) / f"{stage}-{number}").exists():
        number += 1
    return replace(options, run=f"{stage}-{number}")
