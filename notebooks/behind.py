"""The run behind a page: how it is built, now and at every reset, whatever becomes of the page."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Generic, TypeVar

from picochat.commands.training import Build
from picochat.train.controller import Controller
from picochat.train.options import RunOptions
from picochat.train.run import Run

RunOptionsType = TypeVar("RunOptionsType", bound=RunOptions)


class Behind(Controller, Generic[RunOptionsType]):
    """The controller of a page's run; it knows what the run was built from."""

    def __init__(self, stage: str, options: RunOptionsType, build: Build[RunOptionsType]) -> None:
        """See `Builder`."""
        self.options = options
        """What was chosen; a page that is loaded again may have been opened with other options."""
        builder = Builder(stage, options, build)
        super().__init__(builder)
        builder.tell_of(self.tell)


class Builder(Generic[RunOptionsType]):
    """Builds a run as the options say, then, at every reset, anew beside it.

    It outlives the page that made it. So `build` must not be a function of a notebook: it would lose its
    global names with the page.
    """

    def __init__(self, stage: str, options: RunOptionsType, build: Build[RunOptionsType]) -> None:
        self._tell: Callable[[str], None] = lambda doing: None
        self._doing = ""
        self._stage, self._options, self._build = stage, options, build
        self._is_first = True

    def __call__(self) -> Run:
        """Return the next run."""
        now = self._options if self._is_first else replace(self._options, run=None, resume=False)
        run = self._build(name_freely(now, self._stage), progress=self._progress)
        self._is_first = False
        return run

    def tell_of(self, tell: Callable[[str], None]) -> None:
        """Tell what takes long from now on, and what does at this moment: building may have begun."""
        self._tell = tell
        tell(self._doing)

    def _progress(self, what: str, done: int, total: int) -> None:
        self._doing = f"{what}, {done / total:.0%}" if total else what
        self._tell(self._doing)


def keeping_start(build: Build[RunOptionsType]) -> Build[RunOptionsType]:
    """Return a `build` that saves the model before its first step, so that a page can look back at it."""

    def build_and_save(options: RunOptionsType, /, *, progress: Callable[[str, int, int], None]) -> Run:
        run = build(options, progress=progress)
        if run.trainer.step == 0:
            run.save()
        return run

    return build_and_save


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
