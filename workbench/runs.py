"""What is in a folder of runs, looked at often and cheaply, whatever state it is in. Needs no torch."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from picochat.commands.runs_view import short_parent
from picochat.commands.text_plot import smooth
from picochat.errors import UserError
from picochat.train.run_dir import STALE_SECONDS, RunDir, is_checkpoint, read_object
from picochat.train.tail import Tail
from workbench import clock
from workbench.tensor_files import TensorFile

SMOOTH_OVER = 20
SMALL = 1 << 18
"""Bytes of metrics.jsonl that are read wholly; of a larger one only the end, and samples of the rest."""
SAMPLES = 48


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint of a run."""

    step: int
    path: Path
    made: float
    """When, in seconds since the epoch."""
    size: int
    score: float | None
    is_complete: bool


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a folder in runs/ is found to be."""

    name: str
    path: Path
    kind: str
    """run; weights (a checkpoint by itself, like the Rust picochat's); empty; damaged."""
    stage: str = ""
    state: str = ""
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    """Mean of the last steps."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The last validation."""
    num_parameters: int | None = None
    size: int = 0
    created: float | None = None
    parent: str = ""
    """NAME@STEP, or a path."""
    losses: tuple[float, ...] = ()
    """For a small curve."""
    checkpoints: tuple[Checkpoint, ...] = ()
    problem: str = ""
    """What is wrong with the folder, or with the run."""
    info: dict[str, Any] = field(default_factory=dict)
    """run.json."""
    heartbeat: float | None = None

    @property
    def parent_run(self) -> str:
        """The name of the run that this one began from."""
        return self.parent.partition("@")[0]

    @property
    def is_live(self) -> bool:
        """Whether it seems to be in training."""
        return self.state in ("starting", "running", "paused", "silent") and self.kind == "run"

    @property
    def score(self) -> float | None:
        """The first value of the last validation, lower is better."""
        return next(iter(self.metrics.values()), None)


class Scanner:
    """Reads a folder of runs; what did not change since the last time is not read again."""

    def __init__(self, runs_dir: Path) -> None:
        self.runs_dir = runs_dir
        self._known: dict[tuple[str, Path], tuple[Any, Any]] = {}

    def scan(self) -> list[Facts]:
        """Return what is in the folder by name; nothing that is found there raises."""
        try:
            entries = sorted(self.runs_dir.iterdir())
        except OSError:
            return []
        found = []
        for path in entries:
            if path.name.startswith("."):
                continue
            try:
                if path.is_dir():
                    found.append(self._look(path))
            except FileNotFoundError:
                if path.exists():
                    found.append(Facts(name=path.name, path=path, kind="damaged", problem="is changing"))
            except (UserError, OSError, ValueError) as error:
                found.append(Facts(name=path.name, path=path, kind="damaged", problem=str(error)))
        return found

    def _look(self, path: Path) -> Facts:
        run = RunDir(path)
        if run.exists():
            return self._run(run)
        if is_checkpoint(path):
            return self._weights(path)
        log = path / "log.txt"
        if log.exists():
            return _starting(path, log)
        is_bare = next(os.scandir(path), None) is None
        problem = "an empty folder" if is_bare else "no run.json: neither a run nor a checkpoint"
        return Facts(name=path.name, path=path, kind="empty", problem=problem)

    def _run(self, run: RunDir) -> Facts:
        info = self._once("info", run.path / "run.json", lambda path: _checked(run.info(), path))
        status = run.status()
        losses, last, metrics = self._once("curve", run.path / "metrics.jsonl", summary) or ((), None, {})
        checkpoints = tuple(
            self._once("checkpoint", path / "MANIFEST.json", lambda _, s=step, p=path: _checkpoint(s, p))
            or _checkpoint(step, path)
            for step, path in run.step_folders().items()
        )
        own = sum(entry.stat().st_size for entry in os.scandir(run.path) if entry.is_file())
        steps = status.get("steps", info["options"].get("steps"))
        problem = str(status.get("message", ""))
        if not problem and status["state"] == "crashed":
            problem = _last_words(run.path / "log.txt", status["heartbeat"])
        return Facts(
            name=run.name,
            path=run.path,
            kind="run",
            stage=str(info["stage"]),
            state=str(status["state"]),
            step=status["step"] if isinstance(status["step"], int) else None,
            steps=steps if isinstance(steps, int) else None,
            loss=last,
            metrics=metrics,
            num_parameters=info.get("num_parameters"),
            size=own + sum(checkpoint.size for checkpoint in checkpoints),
            created=info["created"],
            parent=short_parent(info["parent"]),
            losses=losses,
            checkpoints=checkpoints,
            problem=problem,
            info=info,
            heartbeat=status.get("heartbeat"),
        )

    def _weights(self, path: Path) -> Facts:
        def count(file: Path) -> int:
            return TensorFile.read(file).num_values

        return Facts(
            name=path.name,
            path=path,
            kind="weights",
            stage="weights",
            num_parameters=self._once("weights", path / "model.safetensors", count),
            size=sum(entry.stat().st_size for entry in os.scandir(path) if entry.is_file()),
            created=(path / "model.safetensors").stat().st_mtime,
            info={"model": read_object(path / "config.json")},
        )

    def _once(self, what: str, path: Path, read: Any) -> Any:
        """Return `read(path)`, from memory if the file is as it was; None if there is no such file."""
        try:
            facts = path.stat()
        except FileNotFoundError:
            return None
        stamp = facts.st_mtime_ns, facts.st_size, facts.st_ino
        known = self._known.get((what, path))
        if known is None or known[0] != stamp:
            known = stamp, read(path)
            self._known[what, path] = known
        return known[1]


def _starting(path: Path, log: Path) -> Facts:
    """Return what is known of a run that was started and has not begun yet, or ended in an error."""
    said = last_lines(log, 1)
    made = log.stat().st_mtime
    if said and said[0].startswith(("error:", "interrupted")):
        state = "failed"
    else:
        state = "starting" if clock.now() - made < STALE_SECONDS else "silent"
    problem = said[0] if said else "starting"
    return Facts(name=path.name, path=path, kind="empty", state=state, problem=problem, created=made)


def _last_words(log: Path, heartbeat: float) -> str:
    """Return the last line that a crashed run wrote to its log, if it has one."""
    said = last_lines(log, 1)
    # A process that was started elsewhere has no log: an older one's last words are not about it.
    return said[0].strip() if said and log.stat().st_mtime > heartbeat - STALE_SECONDS else ""


def summary(path: Path) -> tuple[tuple[float, ...], float | None, dict[str, float]]:
    """Return losses for a small curve, the mean of the last ones, and the last validation."""
    size = path.stat().st_size
    tail = Tail(path, newest=SMALL)
    rows = tail.read()
    losses = [row["loss"] for row in rows if row.get("event") == "step" and _is_number(row.get("loss"))]
    evals = [row["metrics"] for row in rows if row.get("event") == "eval"]
    last = smooth(losses, SMOOTH_OVER)[-1] if losses else None
    metrics = evals[-1] if evals and isinstance(evals[-1], dict) else {}
    metrics = {name: value for name, value in metrics.items() if _is_number(value)}
    if size > SMALL:
        losses = _sampled_losses(path, size)
    return tuple(losses), last, metrics


def _sampled_losses(path: Path, size: int) -> list[float]:
    """Return losses from all over a file of any length, a few bytes read at each place."""
    losses = []
    with path.open("rb") as file:
        for index in range(SAMPLES):
            file.seek(size * index // SAMPLES)
            lines = file.read(4096).split(b"\n")[1 if index else 0 : -1]
            for line in lines:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if isinstance(row, dict) and row.get("event") == "step" and _is_number(row.get("loss")):
                    losses.append(row["loss"])
                    break
    return losses


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of a log; what a progress bar drew over is left out."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - (1 << 16)))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return [line for line in lines if line.strip()][-count:]


def _checkpoint(step: int, path: Path) -> Checkpoint:
    manifest, state = path / "MANIFEST.json", path / "state.json"
    try:
        score = read_object(state, "score")["score"]
    except (UserError, OSError):
        score = None
    is_complete = manifest.is_file()
    return Checkpoint(
        step=step,
        path=path,
        made=(manifest if is_complete else path).stat().st_mtime,
        size=sum(entry.stat().st_size for entry in os.scandir(path) if entry.is_file()),
        score=score if _is_number(score) else None,
        is_complete=is_complete,
    )


def _checked(info: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return run.json if its values are what they should be. Raises UserError if not."""
    kinds = {"stage": str, "options": dict, "created": int | float, "parent": str | None}
    for name, kind in kinds.items():
        if not isinstance(info[name], kind):
            raise UserError(f"{path}: {name} is {info[name]!r}; the file is damaged")
    return info


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
