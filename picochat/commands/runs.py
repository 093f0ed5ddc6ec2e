"""`picochat runs`: list, show, compare and delete runs, through their folders alone."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from picochat.errors import UserError
from picochat.train.run_dir import RunDir, find_run, list_runs, resolve_checkpoint

NAME = (tyro.conf.Positional, tyro.conf.arg(metavar="NAME"))


@dataclass(frozen=True, kw_only=True)
class RunsOptions:
    """Where the runs are."""

    runs_dir: str = "runs"
    """Folder that holds the runs."""


@dataclass(frozen=True, kw_only=True)
class ListRuns(RunsOptions):
    """List the runs."""

    def execute(self) -> None:
        """Print a table of the runs, oldest first; a damaged one is named below it."""
        from picochat.commands.runs_view import make_console, overview, print_overview

        rows, problems = [], []
        for run in list_runs(Path(self.runs_dir)):
            try:
                rows.append(overview(run))
            except UserError as error:
                problems.append(str(error))
        if not rows and not problems:
            print(f"no runs in {self.runs_dir} yet; `picochat demo` or `picochat pretrain` makes one")
            return
        print_overview(rows, make_console())
        for problem in problems:
            print(f"damaged: {problem}", file=sys.stderr)


@dataclass(frozen=True, kw_only=True)
class ShowRun(RunsOptions):
    """Show one run: options, curve, checkpoints, samples."""

    name: Annotated[str, *NAME]
    """Name or folder of the run."""

    def execute(self) -> None:
        """Print what is known of the run."""
        from picochat.commands.runs_view import make_console, show

        show(find_run(self.name, Path(self.runs_dir)), make_console())


@dataclass(frozen=True, kw_only=True)
class CompareRuns(RunsOptions):
    """Compare runs side by side."""

    names: Annotated[tuple[str, ...], *NAME]
    """Names or folders of the runs."""

    def execute(self) -> None:
        """Print where the options of the runs differ, their scores, and their losses at equal steps."""
        from picochat.commands.runs_view import compare, make_console

        if len(self.names) < 2:
            raise UserError("name two runs or more to compare; `picochat runs list` lists them")
        compare([find_run(name, Path(self.runs_dir)) for name in self.names], make_console())


@dataclass(frozen=True, kw_only=True)
class DeleteRun(RunsOptions):
    """Delete runs or checkpoints of them."""

    names: Annotated[tuple[str, ...], *NAME]
    """What to delete: NAME for a whole run, NAME@500 for one checkpoint."""
    yes: bool = False
    """Delete without asking."""

    def execute(self) -> None:
        """Ask, then delete."""
        if not self.names:
            raise UserError("name what to delete: a run, or a checkpoint as NAME@500")
        # All of them are looked up before the first is deleted.
        for name, path in {name: self._find(name) for name in self.names}.items():
            if self.yes or self._is_sure(name, path):
                shutil.rmtree(path)
                print(f"deleted {path}")

    def _find(self, name: str) -> Path:
        run_name, _, step = name.partition("@")
        run = find_run(run_name, Path(self.runs_dir))
        if run.is_live():
            raise UserError(f"{run.path} is in training; stop it first")
        return resolve_checkpoint(f"{run.path}@{step}") if step else run.path

    def _is_sure(self, name: str, path: Path) -> bool:
        if not sys.stdin.isatty():
            raise UserError(f"{name} is not deleted without being asked; give --yes")
        children = [run.name for run in list_runs(Path(self.runs_dir)) if _began_from(run, path)]
        hint = f" ({', '.join(children)} began from it and can not be resumed then)" if children else ""
        return input(f"delete {path}{hint}? [y/N] ").strip().lower() in ("y", "yes")


def _began_from(run: RunDir, path: Path) -> bool:
    parent = run.info()["parent"]
    return parent is not None and Path(parent).resolve().is_relative_to(path.resolve())
