"""Copying that works in tmux and over ssh: every way there is, and always a file."""

import base64
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

TOOLS = (("wl-copy",), ("xclip", "-selection", "clipboard"), ("xsel", "-ib"), ("pbcopy",))
DISPLAYS = {"wl-copy": "WAYLAND_DISPLAY", "xclip": "DISPLAY", "xsel": "DISPLAY"}
"""What a tool can not do without."""
TIMEOUT_SECONDS = 2.0
MAX_OSC_BYTES = 100_000
"""Terminals drop longer sequences."""


def copy(text: str, path: Path, write: Callable[[str], object] | None) -> list[str]:
    """Copy a text, and say where it went.

    Inside tmux its buffer comes first (and tmux hands it to the outer terminal); then the escape code that
    the terminal itself, also at the other end of ssh, obeys; then the tools of the system. `write` sends an
    escape code to the terminal. The file at `path` always gets it. Raises OSError if that can not be written.
    """
    text = text.encode("utf-8", "replace").decode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    places = []
    if os.environ.get("TMUX") and _feed(("tmux", "load-buffer", "-w", "-"), text):
        places.append("tmux")
    if write is not None and len(text.encode()) <= MAX_OSC_BYTES:
        write(f"\x1b]52;c;{base64.b64encode(text.encode()).decode()}\a")
        places.append("terminal")
    for tool in TOOLS:
        if _can_use(tool[0]) and _feed(tool, text):
            places.append(tool[0])
            break
    return [*places, str(path)]


def _can_use(tool: str) -> bool:
    display = DISPLAYS.get(tool)
    return (display is None or bool(os.environ.get(display))) and shutil.which(tool) is not None


def _feed(command: tuple[str, ...], text: str) -> bool:
    """Give a program the text; return whether it took it."""
    try:
        done = subprocess.run(
            command,
            input=text.encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
