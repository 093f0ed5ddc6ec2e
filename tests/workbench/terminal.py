"""A program in a pseudo-terminal, with a screen that is emulated: what a user sees, and when."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence

import pyte

ESCAPE = b"\x1b[27u"
"""As terminals with the kitty protocol send it."""
PLAIN_ESCAPE = b"\x1b"
"""As others send it: the app has to wait whether more follows."""


class Terminal:
    """Runs a command; `text` is its screen."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 100,
        rows: int = 30,
        env: dict[str, str] | None = None,
        cwd: str | None = None,
    ) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = bytearray()
        """Everything the program wrote."""
        self._num_drawn = 0
        self.controller, self.terminal = pty.openpty()
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(self.terminal)
        # Compiling every module at every start is no part of what a user waits for.
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            command,
            stdin=self.terminal,
            stdout=self.terminal,
            stderr=self.terminal,
            env={**inherited, "TERM": "xterm-256color", "COLORTERM": "truecolor", **(env or {})},
            start_new_session=True,
            cwd=cwd,
        )

    @property
    def text(self) -> str:
        """The screen, a line a row."""
        # Emulating costs more than the program takes; so only when somebody looks.
        self._stream.feed(bytes(self.raw[self._num_drawn :]))
        self._num_drawn = len(self.raw)
        return "\n".join(line.rstrip() for line in self._screen.display)

    def write(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.controller, keys)

    def read(self, seconds: float) -> bytes:
        """Take what the program writes next, waiting for at most `seconds`."""
        if not select.select([self.controller], [], [], max(seconds, 0))[0]:
            return b""
        try:
            new = os.read(self.controller, 1 << 16)
        except OSError:  # the program has closed its end
            return b""
        self.raw += new
        return new

    def until(self, done: Callable[[str], object], seconds: float = 60.0) -> float:
        """Read until the screen's text meets `done`; return how long that took. Raises TimeoutError."""
        began = time.perf_counter()
        while not done(self.text):
            left = began + seconds - time.perf_counter()
            if left <= 0:
                raise TimeoutError(f"not within {seconds} s; the screen:\n{self.text}")
            self.read(min(left, 0.05))
        return time.perf_counter() - began

    def until_written(self, wanted: bytes, seconds: float = 60.0) -> float:
        """Read until the program writes `wanted`; return how long that took. Raises TimeoutError."""
        began, first = time.perf_counter(), len(self.raw)
        while self.raw.find(wanted, first) < 0:
            left = began + seconds - time.perf_counter()
            if left <= 0:
                raise TimeoutError(f"not within {seconds} s; the screen:\n{self.text}")
            self.read(left)
        return time.perf_counter() - began

    def read_for(self, seconds: float) -> None:
        """Read for a while."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            self.read(end - time.perf_counter())

    def wait(self, seconds: float = 30.0) -> int:
        """Read until the program ends; return its exit code."""
        end = time.perf_counter() + seconds
        while self.process.poll() is None:
            if time.perf_counter() > end:
                raise TimeoutError(f"still running; the screen:\n{self.text}")
            self.read(0.02)
        self.read_for(0.1)
        return self.process.returncode

    def close(self) -> None:
        """End everything."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.controller)
        os.close(self.terminal)
