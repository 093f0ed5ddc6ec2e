"""The app in a real pseudo-terminal: what arrives there, and how it is left behind."""

import os
import queue
import statistics
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pty")

from textual import constants
from textual.events import Key
from textual.message import Message

from tests.workbench.terminal import ESCAPE, PLAIN_ESCAPE, Terminal
from workbench.driver import ESCAPE_SECONDS, QuickEscapeDriver

APP = str(Path(__file__).with_name("fake_app.py"))
ROOT = str(Path(__file__).parents[2])
ENTERED = (b"\x1b[?1049h", b"\x1b[?1000h", b"\x1b[?2004h", b"\x1b[?25l")
LEFT = (b"\x1b[?1049l", b"\x1b[?1000l", b"\x1b[?2004l", b"\x1b[?25h")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal([sys.executable, APP, str(tmp_path)], env={"PYTHONPATH": ROOT})
    yield terminal
    terminal.close()


def is_restored(terminal: Terminal) -> bool:
    """Whether every mode that was entered was left, and the line discipline is as it was."""
    for entered, left in zip(ENTERED, LEFT, strict=True):
        assert terminal.raw.rfind(left) > terminal.raw.rfind(entered), left
    return termios.tcgetattr(terminal.terminal) == terminal.before


def test_start_type_stream_stop_quit(terminal):
    terminal.until(lambda text: "● tiny" in text)
    terminal.write("grüße 日本\r".encode())
    terminal.until(lambda text: "echo grüße 日" in text and "3 tokens" in text)
    terminal.write(b"endless\r")
    terminal.until(lambda text: "echo endless" in text and "tok/s" in text)
    terminal.write(b"typed while it streams")
    terminal.until(lambda text: "typed while it streams" in text)
    terminal.write(ESCAPE)
    terminal.until(lambda text: "stopped" in text)
    terminal.write(b"\x11")
    assert terminal.wait() == 0
    assert is_restored(terminal)


def test_a_lone_escape_is_told_from_the_beginning_of_another_key(terminal):
    terminal.until(lambda text: "● tiny" in text)
    half, rest = "ä".encode()[:1], "ä".encode()[1:]
    terminal.write(half)
    terminal.read_for(0.1)
    terminal.write(rest)
    terminal.until(lambda text: "│ ä" in text)
    terminal.write(b"\r")
    terminal.until(lambda text: "echo ä" in text and "Ask something" in text)
    terminal.write(b"\x1b[A")
    terminal.until(lambda text: "│ ä" in text)
    terminal.write(b"\x7f")
    terminal.until(lambda text: "Ask something" in text)
    terminal.write(b"endless\r")
    terminal.until(lambda text: "echo endless" in text and "tok/s" in text)
    terminal.write(PLAIN_ESCAPE)
    terminal.until_written(b"stopped", seconds=5)


class TypedAt(QuickEscapeDriver):
    """Only its reading thread, on a pipe."""

    def __init__(self, fileno: int) -> None:
        self.fileno, self.exit_event, self._debug = fileno, threading.Event(), False
        self.told: queue.Queue[Message] = queue.Queue()

    def process_message(self, message: Message) -> None:
        self.told.put(message)


def test_a_lone_escape_is_told_when_its_delay_is_over(monkeypatch):
    monkeypatch.delenv("ESCDELAY", raising=False)
    monkeypatch.setattr(constants, "ESCAPE_DELAY", constants.ESCAPE_DELAY)  # put back afterwards
    read_end, write_end = os.pipe()
    driver = TypedAt(read_end)
    thread = threading.Thread(target=driver.run_input_thread)
    thread.start()
    took = []
    for _ in range(20):
        time.sleep(0.01)
        began = time.perf_counter()
        os.write(write_end, PLAIN_ESCAPE)
        key = driver.told.get(timeout=5)
        assert isinstance(key, Key)
        assert key.key == "escape"
        took.append(time.perf_counter() - began)
    os.close(write_end)
    thread.join(timeout=5)  # the end of what is typed is the thread's end, too
    assert not thread.is_alive()
    os.close(read_end)
    # Most of them: a busy machine may take its time for some. Textual's own takes 100 ms for each.
    assert ESCAPE_SECONDS <= statistics.median(took) < ESCAPE_SECONDS + 0.04


@pytest.mark.parametrize("alt_d", [b"\x1bd", b"\x1b[100;3u"], ids=["plain", "kitty"])
def test_alt_with_a_letter_is_no_text(terminal, alt_d):
    terminal.until(lambda text: "● tiny" in text)
    terminal.write(alt_d)
    terminal.until(lambda text: "a prompt for both" in text)
    terminal.write(b"\x1bOQ")
    terminal.until(lambda text: "Ask something" in text)


def test_quitting_while_an_answer_is_written_takes_no_time(terminal):
    terminal.until(lambda text: "● tiny" in text)
    terminal.write(b"endless\r")
    terminal.until(lambda text: "echo endless" in text)
    terminal.write(b"\x11")
    assert terminal.wait(10) == 0
    assert is_restored(terminal)


def test_ctrl_c_twice_quits(terminal):
    terminal.until(lambda text: "● tiny" in text)
    terminal.write(b"\x03")
    terminal.until(lambda text: "ctrl+c again quits" in text)
    terminal.write(b"\x03")
    assert terminal.wait() == 0


def test_a_bug_ends_with_a_traceback_and_an_exit_code(tmp_path):
    code = (
        "import sys; sys.argv = ['x', sys.argv[1]]\n"
        "from workbench.screens.chat import ChatScreen\n"
        "def bug(self): raise RuntimeError('a bug')\n"
        "ChatScreen.action_colours = bug\n"
        "from tests.workbench.fake_app import main; main()"
    )
    terminal = Terminal([sys.executable, "-c", code, str(tmp_path)], env={"PYTHONPATH": ROOT})
    terminal.until(lambda text: "● tiny" in text)
    terminal.write(b"\x1b[17~")
    assert terminal.wait() == 1
    assert b"a bug" in terminal.raw
    assert is_restored(terminal)
    terminal.close()


def test_native_output_stays_off_the_screen_and_comes_at_the_end(tmp_path):
    code = (
        "import os, sys; sys.argv = ['x', sys.argv[1]]\n"
        "from workbench.screens.chat import ChatScreen\n"
        "ChatScreen.action_colours = lambda self: os.write(2, b'from the depths\\n')\n"
        "from tests.workbench.fake_app import main; main()"
    )
    terminal = Terminal([sys.executable, "-c", code, str(tmp_path)], env={"PYTHONPATH": ROOT})
    terminal.until(lambda text: "● tiny" in text)
    terminal.write(b"\x1b[17~x")
    terminal.until(lambda text: "│ x" in text)
    assert b"from the depths" not in terminal.raw
    terminal.write(b"\x11")
    assert terminal.wait() == 0
    assert b"from the depths" in terminal.raw
    terminal.close()


def test_the_command_needs_a_terminal_that_can_move_its_cursor(tmp_path):
    command = [sys.executable, "-m", "picochat", "workbench", "--chats-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, input="", check=False)
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr
    terminal = Terminal(command, env={"PYTHONPATH": ROOT, "TERM": "dumb"})
    assert terminal.wait() == 2
    assert b"--plain" in terminal.raw
    terminal.close()
    done = subprocess.run([*command, "--plain"], capture_output=True, text=True, input="", check=False)
    assert done.returncode == 2
    assert "--load" in done.stderr


def test_the_command_opens_the_app(tmp_path):
    command = [sys.executable, "-m", "picochat", "workbench", "--chats-dir", str(tmp_path)]
    terminal = Terminal(command, env={"PYTHONPATH": ROOT, "PICOCHAT_CONFIG": str(tmp_path)})
    terminal.until(lambda text: "no model" in text and "A new conversation" in text)
    terminal.write(b"\x11")
    assert terminal.wait() == 0
    terminal.close()
