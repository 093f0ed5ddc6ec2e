"""A text in the user's own editor."""

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from picochat.errors import UserError

USUAL = ("nano", "vim", "vi", "notepad")


def editor_command() -> list[str]:
    """Return the command of the user's editor. Raises UserError if there is none, or it is no command."""
    for name in ("VISUAL", "EDITOR"):
        if command := os.environ.get(name, "").strip():
            try:
                return shlex.split(command)
            except ValueError as error:
                raise UserError(f"{name} is {command!r}: {error}") from error
    found = next((name for name in USUAL if shutil.which(name)), None)
    if found is None:
        raise UserError("there is no editor; name yours in the variable EDITOR")
    return [found]


def edit(text: str) -> str:
    """Let the user edit a text, and return it. Raises UserError if the editor fails."""
    command = editor_command()
    with tempfile.TemporaryDirectory(prefix="picochat-") as folder:
        path = Path(folder) / "prompt.md"
        path.write_text(text, encoding="utf-8")
        try:
            done = subprocess.run([*command, str(path)], check=False)
        except OSError as error:
            raise UserError(f"{command[0]}: {error.strerror or error}") from error
        if done.returncode:
            raise UserError(f"{command[0]} ended with code {done.returncode}; nothing was changed")
        return path.read_text(encoding="utf-8", errors="replace").rstrip("\n")
