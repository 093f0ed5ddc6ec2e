"""What a user does to runs: delete, rename, start, steer. Every function works on folders alone."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from picochat.errors import UserError
from picochat.train.run_dir import HOST, STEP_FOLDER, RunDir, list_runs, read_object, write_json

LOG = "log.txt"
"""What a run that was started from the workbench prints, in its folder."""


def refuse_if_live(run: RunDir) -> None:
    """Raise UserError if a process trains the run, or may do so on another host."""
    if run.is_live():
        raise UserError(f"{run.name} is in training; stop it first")
    path = run.path / "status.json"
    try:
        status = read_object(path, "state") if path.exists() else {"state": "starting"}
    except UserError:
        # It tells of no other host, and what is damaged has to be deletable.
        return
    host = status.get("host", HOST)
    if host != HOST and status["state"] in ("starting", "running", "paused"):
        raise UserError(f"{run.name} may be in training on {host}; stop it there first")


def delete(path: Path) -> None:
    """Delete a run, or a checkpoint of one. Raises UserError if the run is in training.

    It loses its name first, so that nobody sees a part of it.
    """
    run = RunDir(path.parent.parent if STEP_FOLDER.fullmatch(path.name) else path)
    if run.exists():
        refuse_if_live(run)
    mark = "tmp" if STEP_FOLDER.fullmatch(path.name) else "deleted"
    hidden = path.with_name(f".{path.name}.{mark}-{os.getpid()}")
    path.rename(hidden)
    shutil.rmtree(hidden)


def children(runs_dir: Path, path: Path) -> list[RunDir]:
    """Return the runs that began from the run or checkpoint at `path`."""
    found = []
    for run in list_runs(runs_dir):
        try:
            parent = run.info()["parent"]
        except (UserError, OSError):
            continue
        if isinstance(parent, str) and _descends(parent, path):
            found.append(run)
    return found


def _descends(parent: str, path: Path) -> bool:
    return Path(parent).resolve().is_relative_to(path.resolve())


def rename(run: RunDir, name: str, runs_dir: Path) -> RunDir:
    """Give a run another name; the runs that began from it are told. Raises UserError if it can not be."""
    if not name or Path(name).name != name or name.startswith(".") or "@" in name:
        raise UserError(f"{name!r}: a run's name is one plain folder name without @")
    new = run.path.with_name(name)
    if new.exists():
        raise UserError(f"{name} is taken")
    followers = children(runs_dir, run.path)
    for one in (run, *followers):
        if one.exists():
            refuse_if_live(one)
    old = run.path.resolve()
    run.path.rename(new)
    for follower in followers:
        info = follower.info()
        info["parent"] = str(new / Path(info["parent"]).resolve().relative_to(old))
        write_json(follower.path / "run.json", info)
    return RunDir(new)


def free_name(stage: str, runs_dir: Path) -> str:
    """Return the first name STAGE-N that no folder has."""
    number = 1
    while (runs_dir / f"{stage}-{number}").exists():
        number += 1
    return f"{stage}-{number}"


def start(stage: str, arguments: Sequence[str], *, name: str, runs_dir: Path, is_new: bool = True) -> int:
    """Begin `picochat STAGE`, or go on with it, as a process that outlives this one; it prints to a log.

    Returns the process's number.
    The folder is made here, so that two workbenches can not begin the same run.
    """
    folder = runs_dir / name
    if is_new:
        try:
            folder.mkdir(parents=True)
        except FileExistsError as error:
            raise UserError(f"{name} is taken; give the run another name") from error
    else:
        refuse_if_live(RunDir(folder))
    command = [
        sys.executable,
        "-m",
        "picochat",
        stage,
        "--run",
        name,
        "--runs-dir",
        str(runs_dir),
        *arguments,
    ]
    if not is_new:
        command.append("--resume")
    apart: dict[str, Any] = {"start_new_session": True}
    if os.name == "nt":
        apart = {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    with (folder / LOG).open("ab") as log:
        log.write(f"$ picochat {' '.join(command[3:])}\n".encode())
        log.flush()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            **apart,
        )
    # Somebody has to take note of its end while this process lives, lest it stays as a zombie.
    threading.Thread(target=process.wait, daemon=True).start()
    return process.pid


def steer(run: RunDir, command: str) -> str:
    """Ask a run for pause, resume, checkpoint or stop; return what was done in words.

    Raises UserError if nobody would listen.
    """
    status = run.status()
    host = status.get("host", HOST)
    is_elsewhere = host != HOST and status["state"] in ("starting", "running", "paused", "silent")
    if not is_elsewhere and not run.is_live():
        raise UserError(f"{run.name} is not in training")
    match command:
        case "pause" | "resume" | "checkpoint" | "stop":
            run.send(command)
        case _:
            raise ValueError(command)
    return f"asked {run.name} to {command}" if command != "checkpoint" else f"asked {run.name} to save"
