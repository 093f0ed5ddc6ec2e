"""Notebooks run as scripts, whose work is bounded."""

import os
import subprocess
import sys
from pathlib import Path

MOST_WORK = 60.0
"""Seconds of processor time that a script may take with the smallest settings: ten times what it takes."""


def run_python(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python to its end."""
    before = _work_of_children()
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=200, cwd=cwd
    )
    assert _work_of_children() - before < MOST_WORK
    return done


def _work_of_children() -> float:
    """Return the processor time of the processes that were started from here and have ended, in seconds."""
    times = os.times()
    return times.children_user + times.children_system
