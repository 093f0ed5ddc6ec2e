"""The run directory: the only interface between a run and everything that watches or steers it.

Needs no torch, so that the terminal app and the command line read runs at once.
"""

import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TextIO

from picochat.errors import UserError
from picochat.files import write_whole

if TYPE_CHECKING:
    from filelock import FileLock

Command = Literal["pause", "resume", "stop", "checkpoint"]
State = Literal["starting", "running", "paused", "stopped", "finished", "failed"]
"""What a run says of itself. A watcher may also find it "crashed" or "silent": see `RunDir.status`."""

STEP_FOLDER = re.compile(r"step-(\d{8,})")
CHECKPOINT_FILES = ("model.safetensors", "config.json", "tokenizer.json")
"""What makes a folder a checkpoint; one written by picochat holds more and a manifest."""
STALE_SECONDS = 60.0
"""A live run renews its heartbeat between steps, so more often than this, unless a step takes that long."""
PROBE_SECONDS = 0.1
"""How long a watcher may hold a run's lock to see whether somebody else does."""


HOST = socket.gethostname()


def is_gone(pid: Any) -> bool:
    """Whether there is certainly no process of this number on this machine."""
    if os.name == "nt" or not isinstance(pid, int) or pid <= 0:
        return False  # On Windows the same call would end the process.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by strict JSON, whole or not at all."""
    write_whole(path, json.dumps(value, allow_nan=False, indent=2) + "\n")


def open_for_append(path: Path) -> TextIO:
    """Open a JSON-lines file for appending, without the unfinished line that a killed process left."""
    if path.exists():
        with path.open("rb+") as file:
            text = file.read()
            file.truncate(text.rfind(b"\n") + 1)
    return path.open("a", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Return the JSON value in `path`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not JSON ({error})") from error


def read_object(path: Path, *names: str) -> dict[str, Any]:
    """Return the JSON object in `path`, which must have the `names`."""
    value = read_json(path)
    missing = [name for name in names if not isinstance(value, dict) or name not in value]
    if missing:
        raise UserError(f"{path}: lacks {', '.join(missing)}; the file is damaged")
    return value


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a JSON-lines file that may be growing: an unfinished last line is left out."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(f"{path}:{number}: not JSON; the file is damaged") from error
            if not (isinstance(row, dict) and "event" in row and isinstance(row.get("step"), int)):
                raise UserError(f"{path}:{number}: not an event of a run; the file is damaged")
            yield row


@dataclass(frozen=True)
class RunDir:
    """A folder that holds one run."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / "run.json").is_file()

    def info(self) -> dict[str, Any]:
        """Return run.json: stage, options, parent, versions."""
        return read_object(self.path / "run.json", "stage", "options", "parent", "created")

    def status(self) -> dict[str, Any]:
        """Return status.json with `state` corrected where the process did not live to write its end.

        It is "crashed" if the process is gone without a word. A run of another host can not be looked at: it
        is "silent" if it has said nothing for a while, which a long step or validation may be the reason of.
        """
        path = self.path / "status.json"
        if not path.exists():
            return {"state": "starting", "step": 0}
        status = read_object(path, "state", "step", "heartbeat")
        if status["state"] not in ("starting", "running", "paused"):
            return status
        is_stale = time.time() - status["heartbeat"] > STALE_SECONDS
        if status.get("host", HOST) != HOST:
            status["state"] = "silent" if is_stale and not self.is_live() else status["state"]
        elif (is_stale or is_gone(status.get("pid"))) and not self.is_live():
            status["state"] = "crashed"
        return status

    def write_status(self, state: State, step: int, steps: int, *, message: str | None = None) -> None:
        """Say where the run stands now, as the process that trains it."""
        status = {
            "state": state,
            "step": step,
            "steps": steps,
            "pid": os.getpid(),
            "host": HOST,
            "heartbeat": time.time(),
        }
        if message:
            status["message"] = message
        write_json(self.path / "status.json", status)

    def rows(self, *events: str) -> list[dict[str, Any]]:
        """Return the events of metrics.jsonl by step; after a resume the last row of a step wins."""
        latest: dict[tuple[str, int], dict[str, Any]] = {}
        for row in read_rows(self.path / "metrics.jsonl"):
            if not events or row["event"] in events:
                latest[row["event"], row["step"]] = row
        return sorted(latest.values(), key=lambda row: row["step"])

    def samples(self) -> list[dict[str, Any]]:
        """Return the rows of samples.jsonl; the last text of a (step, prompt) wins."""
        latest = {(row["step"], row["prompt"]): row for row in read_rows(self.path / "samples.jsonl")}
        return sorted(latest.values(), key=lambda row: row["step"])

    def step_folders(self) -> dict[int, Path]:
        """Return the folders of checkpoints by step, oldest first, damaged ones too."""
        folder = self.path / "checkpoints"
        paths = folder.iterdir() if folder.is_dir() else ()
        found = {int(match[1]): path for path in paths if (match := STEP_FOLDER.fullmatch(path.name))}
        return dict(sorted(found.items()))

    def rollouts(self) -> list[dict[str, Any]]:
        """Return the rows of rollouts.jsonl; the last of a (step, index) wins."""
        latest = {(row["step"], row["index"]): row for row in read_rows(self.path / "rollouts.jsonl")}
        return [latest[key] for key in sorted(latest)]

    def checkpoints(self) -> dict[int, Path]:
        """Return the complete checkpoints by step, oldest first."""
        return {
            step: path for step, path in self.step_folders().items() if (path / "MANIFEST.json").is_file()
        }

    def scores(self) -> dict[int, float | None]:
        """Return the validation result of each complete checkpoint, by step; lower is better.

        None where the weights of that step were not measured, or the file that says so is damaged.
        """
        return {step: _score(path / "state.json") for step, path in self.checkpoints().items()}

    def best(self) -> int | None:
        """Return the step of the checkpoint with the lowest validation loss, if any was measured."""
        measured = {step: score for step, score in self.scores().items() if score is not None}
        return min(measured, key=lambda step: (measured[step], -step)) if measured else None

    def lock(self) -> "FileLock":
        """Return the lock that a process holds while it trains the run; it never waits."""
        from filelock import FileLock

        return FileLock(self.path / ".lock", timeout=0)

    def is_live(self) -> bool:
        """Whether a process on this machine trains the run now."""
        try:
            with (self.path / ".lock").open("rb") as file:
                return self._is_locked(file)
        except FileNotFoundError:
            return False

    def _is_locked(self, file: BinaryIO) -> bool:
        """Whether a process holds the lock whose file is open, tried without being in anybody's way."""
        if sys.platform != "win32":
            import fcntl

            try:
                # Shared, so that those who watch do not take each other for the run.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False
        from filelock import Timeout

        try:
            with self.lock().acquire(timeout=PROBE_SECONDS):
                return False
        except Timeout:
            return True

    def can_resume(self) -> bool:
        """Whether it was stopped before its end and nobody trains it now."""
        return self.status()["state"] != "finished" and not self.is_live()

    def size(self) -> int:
        """Return the bytes that the run takes on disk."""
        return sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())

    def send(self, command: Command) -> None:
        """Ask the run's process for something; it answers within one step."""
        write_json(self.path / "control.json", {"command": command, "time": time.time()})

    def take_command(self) -> Command | None:
        """Return what was asked for since the last call, if anything."""
        path, taken = self.path / "control.json", self.path / ".control.json.taken"
        if not path.exists():
            return None
        # Moved away before it is read: a command sent meanwhile would be deleted unread.
        os.replace(path, taken)
        try:
            command = json.loads(taken.read_text(encoding="utf-8")).get("command")
        except (ValueError, AttributeError):
            command = None
        taken.unlink()
        return command if command in ("pause", "resume", "stop", "checkpoint") else None


def _score(path: Path) -> float | None:
    try:
        return read_object(path, "score")["score"]
    except (UserError, FileNotFoundError):
        return None


def list_runs(runs_dir: Path) -> list[RunDir]:
    """Return the runs in a folder by name."""
    if not runs_dir.is_dir():
        return []
    return [run for path in sorted(runs_dir.iterdir()) if (run := RunDir(path)).exists()]


def runs_of(runs_dir: Path, *stages: str) -> list[RunDir]:
    """Return the runs of some stages that have a checkpoint, newest first."""
    runs = [run for run in list_runs(runs_dir) if run.info()["stage"] in stages and run.checkpoints()]
    return sorted(runs, key=lambda run: run.info()["created"], reverse=True)


def find_run(name: str, runs_dir: Path = Path("runs")) -> RunDir:
    """Return the run called `name` in `runs_dir`, or at the path `name`."""
    for path in (runs_dir / name, Path(name)):
        if RunDir(path).exists():
            return RunDir(path)
    known = ", ".join(run.name for run in list_runs(runs_dir)) or "none yet"
    raise UserError(f"no run called {name!r}; runs in {runs_dir}: {known}")


def run_of(checkpoint: Path) -> RunDir | None:
    """Return the run that a checkpoint folder belongs to; None if it stands for itself."""
    run = RunDir(checkpoint.resolve().parent.parent)
    return run if run.exists() else None


def is_checkpoint(path: Path) -> bool:
    """Whether `path` holds at least the files of the Rust layout."""
    return all((path / name).is_file() for name in CHECKPOINT_FILES)


def resolve_checkpoint(spec: str | Path, runs_dir: Path = Path("runs")) -> Path:
    """Return the checkpoint folder that `spec` names.

    `NAME` or a run's path is its newest complete checkpoint; `NAME@500` the one of step 500; `NAME@best` the
    one with the lowest validation loss; a folder with model.safetensors, config.json and tokenizer.json is
    itself.
    """
    if is_checkpoint(Path(spec)):
        return Path(spec)
    name, _, which = str(spec).rpartition("@") if "@" in Path(spec).name else (str(spec), "", "")
    if Path(name).is_dir() and not RunDir(Path(name)).exists() and not RunDir(runs_dir / name).exists():
        missing = [file for file in CHECKPOINT_FILES if not (Path(name) / file).is_file()]
        raise UserError(f"{name}: neither a run nor a checkpoint; it lacks {', '.join(missing)}")
    run = find_run(name, runs_dir)
    checkpoints = run.checkpoints()
    if not checkpoints:
        raise UserError(f"run {run.name} has no complete checkpoint yet")
    if which == "best":
        best = run.best()
        if best is None:
            raise UserError(
                f"run {run.name} was never validated, so it has no best checkpoint; use {run.name}"
            )
        return checkpoints[best]
    if which and (not which.isdecimal() or int(which) not in checkpoints):
        steps = ", ".join(str(step) for step in checkpoints)
        raise UserError(f"run {run.name} has no checkpoint {which!r}; it has steps {steps} and best")
    return checkpoints[int(which)] if which else list(checkpoints.values())[-1]
