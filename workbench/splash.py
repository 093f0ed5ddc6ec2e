"""The first picture: drawn with plain escape codes while the app is still being imported.

Importing the app takes longer than a user likes to look at nothing. What is typed meanwhile is kept.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator

from workbench.modes import SCREENS

PLACEHOLDER = "Ask something.  Enter sends, ^J begins a new line, F1 helps."
"""What stands in the empty prompt."""
ENTER = "\x1b[?1049h\x1b[2J\x1b[?25l"
"""To the terminal's other screen, cleared, without the cursor."""
LEAVE = "\x1b[?25h\x1b[?1049l"
DIM, PLAIN = "\x1b[2m", "\x1b[0m"


def picture(columns: int, rows: int) -> str:
    """Return what draws an empty chat: the screens on top, the prompt at the bottom."""
    strip = "".join(f" {key} {name}   " if key else f" {name}   " for key, name in SCREENS)
    width = max(columns - 2, 0)
    box = [f"╭{'─' * width}╮", f"│{f' {PLACEHOLDER}':<{width}.{width}}│", f"╰{'─' * width}╯"]
    lines = {1: strip[:columns], **{rows - 3 + number: line for number, line in enumerate(box)}}
    drawn = "".join(f"\x1b[{row};1H{line}" for row, line in lines.items() if row > 0)
    return f"{DIM}{drawn}{PLAIN}"


@contextlib.contextmanager
def splash() -> Iterator[None]:
    """Show the picture, for the app to draw over. An error until then gives the terminal back first."""
    size = shutil.get_terminal_size()
    _write(ENTER + picture(size.columns, size.lines))
    try:
        yield
    except BaseException:
        _write(LEAVE)
        raise


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if os.name == "nt":

    @contextlib.contextmanager
    def quiet_keys() -> Iterator[None]:
        """Do nothing: a Windows console keeps what is typed, and shows it only to who reads it."""
        yield

else:
    import termios

    @contextlib.contextmanager
    def quiet_keys() -> Iterator[None]:
        """Keep what is typed from being shown, and from waiting for the end of a line; undone at the end."""
        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)
        quiet = termios.tcgetattr(terminal)
        quiet[3] &= ~(termios.ECHO | termios.ICANON)
        termios.tcsetattr(terminal, termios.TCSANOW, quiet)
        try:
            yield
        finally:
            termios.tcsetattr(terminal, termios.TCSANOW, before)
