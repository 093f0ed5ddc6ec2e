"""What the commands that train have in common: a run is built, watched, stopped by signals, summed up."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol, TypeVar

from picochat.errors import UserError
from picochat.progress import Update, progress
from picochat.train.options import RunOptions
from picochat.train.run_dir import RunDir
from picochat.train.run_options import name_run, stored_options

if TYPE_CHECKING:
    from picochat.train.run import Run

Options = TypeVar("Options", bound=RunOptions)
_Options = TypeVar("_Options", bound=RunOptions, contravariant=True)

NEXT = {
    "pretrain": (
        "picochat sft --load {run}",
        'picochat chat --load {run} --complete --prompt "Once upon a time"',
    ),
    "sft": ("picochat grpo --load {run}", "picochat chat --load {run}"),
    "grpo": ("picochat chat --load {run}",),
}
"""What to try after a stage."""


class Build(Protocol[_Options]):
    """Puts a run together, telling about long preparations: what, done, of how many bytes."""

    def __call__(self, options: _Options, /, *, progress: Callable[[str, int, int], None]) -> "Run": ...


def resumed_options(options_class: type[Options], stage: str, args: Sequence[str]) -> Options | None:
    """Return the options of the run that `args` resume, None if they resume none."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--resume", action="store_true")
    # A value that is missing is for the parser of all options to complain about.
    parser.add_argument("--run", nargs="?")
    parser.add_argument("--runs-dir", "--runs_dir", nargs="?", default="runs")
    known, _ = parser.parse_known_args(args)
    return stored_options(options_class, stage, known.run, known.runs_dir or "runs") if known.resume else None


def train(stage: str, options: Options, build: Build[Options]) -> RunDir:
    """Make a run and see it through; returns its directory.

    A run that the user stops ends like one that is finished, with a word on how to resume it.
    """
    options = name_run(options, stage)
    with _preparations() as told:
        run = build(options, progress=told)
    is_main = run.trainer.world.is_main
    if is_main:
        print("\n".join([*run.notes, _opening(run)]))
    watched = nullcontext(lambda event: None)
    if is_main:
        from picochat.commands.training_view import view

        watched = view(run.directory.name, run.trainer.step, run.trainer.steps)
    try:
        with _stopped_by_signals(run), watched as show:
            for event in run:
                show(event)
    except UserError as error:
        _leave_to_one_rank(run, error)
        raise
    finally:
        run.close()
    if is_main:
        print(_closing(run))
    return run.directory


def _leave_to_one_rank(run: "Run", error: UserError) -> None:
    """Exit silently where another rank tells of the same error."""
    from picochat.train.trainer import NonFiniteError
    from picochat.train.world import PeerLostError

    world = run.trainer.world
    if isinstance(error, PeerLostError):
        run.close()
        # The first rank is gone if its lock is, and has said why if it could.
        is_told = world.rank > 1 or run.directory.is_live() or run.directory.status()["state"] == "failed"
        if world.is_main or not is_told:
            raise UserError(
                f"{error}; with torchrun, `{resume_command(run)}` goes on from the newest checkpoint"
            )
        sys.exit(1)
    if isinstance(error, NonFiniteError) and not world.is_main:
        sys.exit(2)


@contextmanager
def _preparations() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that shows how far one preparation after another is."""
    with ExitStack() as shown:
        current: tuple[str, Update] | None = None

        def tell(what: str, done: int, total: int) -> None:
            nonlocal current
            if current is None or current[0] != what:
                shown.close()
                current = what, shown.enter_context(progress(total, what, "B"))
            current[1](done, total)

        yield tell


@contextmanager
def _stopped_by_signals(run: "Run") -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM save and end the run, and the second interrupt it at once."""
    is_stopping = False

    def stop(*_: object) -> None:
        nonlocal is_stopping
        if is_stopping:
            raise KeyboardInterrupt
        is_stopping = True
        run.request_stop()
        if run.trainer.world.is_main:
            # Not print: the signal may have come in the middle of one.
            text = (
                f"\nsaving after this step; `{resume_command(run)}` goes on with it (again to quit at once)\n"
            )
            os.write(2, text.encode())

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def resume_command(run: "Run") -> str:
    """Return the command that goes on with a run."""
    return f"picochat {run.stage} --run {run.directory.name}{_runs_dir(run)} --resume"


def _runs_dir(run: "Run") -> str:
    return "" if run.options.runs_dir == "runs" else f" --runs-dir {run.options.runs_dir}"


def _opening(run: "Run") -> str:
    options, model = run.options, run.model
    begins = (
        f"from step {run.trainer.step} to {options.steps}" if run.trainer.step else f"{options.steps} steps"
    )
    return (
        f"{run.stage} {run.directory.path}: {model.config.num_parameters():,} parameters on {model.device}, "
        f"{begins} of {options.step_text}"
    )


def _closing(run: "Run") -> str:
    checkpoints = run.directory.checkpoints()
    if not checkpoints:
        return f"stopped before the first step; `{resume_command(run)}` begins again"
    newest = list(checkpoints)[-1]
    lines = [f"checkpoint: {checkpoints[newest]}"]
    best = run.directory.best()
    if best not in (None, newest):
        lines.append(f"best validation: step {best}, {run.directory.name}@best")
    if run.state == "stopped":
        lines.append(
            f"stopped at step {run.trainer.step} of {run.trainer.steps}; resume: {resume_command(run)}"
        )
    else:
        name = run.directory.name if run.options.runs_dir == "runs" else run.directory.path
        commands = [command.format(run=name) for command in NEXT[run.stage]]
        lines.append("next: " + "\n      ".join(commands))
    return "\n".join(lines)
