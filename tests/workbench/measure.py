"""Measures what the workbench promises, in a real pseudo-terminal with a fake model.

`just measure-workbench`. Every number is a time that a user would see on the screen, or what the system says
of the process. A busy machine makes them worse, so the third column tells the time that the app itself was at
work on a processor: what would be left on a calm machine, where caches are warm, is about that or less.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))

from picochat.engine.protocol import Alternative, TokenInfo
from tests.workbench.terminal import ESCAPE, PLAIN_ESCAPE, Terminal
from workbench.conversations import ROOT, Answer, Conversation, Question
from workbench.store import Store
from workbench.tokens import TokenList

FOLDER = Path(__file__).parents[2]
STARTS = 7
KEYS = 60
STOPS = 9
RATE = 500
LONG = 40_000
MANY = 500
TOKENS_PER_MESSAGE = 100
EMPTY_APP = """
from textual.app import App
from textual.widgets import Static

class Empty(App):
    def compose(self):
        yield Static("Ask something.")

Empty().run()
"""
FIRST_LETTER = 0x430
"""Of those that are typed: Cyrillic, which the fake model does not write."""
FOCUS_OUT_AND_IN = b"\x1b[O\x1b[I"


def main() -> None:
    """Measure everything and print a table."""
    rows = [*first_frame(), *typing_and_stopping(), *long_message(), *many_messages()]
    width = max(len(row[0]) for row in rows)
    print(f"\n{'':<{width}}  {'median':>9}  {'worst':>9}  {'at work':>9}  target")
    for name, median, worst, busy, target in rows:
        print(f"{name:<{width}}  {median:>9}  {worst:>9}  {busy:>9}  {target}")
    print(f"\nload {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, Python {sys.version.split()[0]}")


Row = tuple[str, str, str, str, str]
Times = tuple[float, float]
"""What a clock says, and how long the app was at work, in seconds."""


def row(name: str, times: Sequence[Times], target: str) -> Row:
    """Return a row of the table."""
    walls, works = zip(*times, strict=True)
    return (name, _ms(statistics.median(walls)), _ms(max(walls)), _ms(statistics.median(works)), target)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def work(terminal: Terminal) -> float:
    """Return how long the app has been at work so far, without the model's process."""
    times = psutil.Process(terminal.process.pid).cpu_times()
    schedstat = Path(f"/proc/{terminal.process.pid}/schedstat")
    # Where there is one it is exact; the other counts hundredths of a second.
    return int(schedstat.read_text().split()[0]) / 1e9 if schedstat.exists() else times.user + times.system


def start(folder: Path, *, rate: float = 0.0, columns: int = 100, rows: int = 30) -> Terminal:
    """Start the app with the fake model."""
    env = {"PYTHONPATH": str(FOLDER), "FAKE_RATE": str(rate), "WORKBENCH_STALLS": str(folder / "stalls.json")}
    command = [sys.executable, str(Path(__file__).with_name("measured_app.py")), str(folder)]
    terminal = Terminal(command, columns=columns, rows=rows, env=env)
    terminal.until(lambda text: "● tiny" in text)
    return terminal


def quit_app(terminal: Terminal) -> None:
    """Leave the app in an orderly way."""
    terminal.write(b"\x11")
    code = terminal.wait()
    assert code == 0, code
    terminal.close()


def worst_stall(folder: Path) -> Row:
    """Return the longest time the app's event loop was held up, as it wrote at its end."""
    stalls = json.loads((folder / "stalls.json").read_text())
    return ("  longest stall meanwhile", "", _ms(stalls["worst"]), _ms(stalls["busy"]), "100 ms")


def memory(terminal: Terminal) -> float:
    """Return the app's own resident memory in MB, without the model's process."""
    return psutil.Process(terminal.process.pid).memory_info().rss / 1e6


def first_frame() -> list[Row]:
    """From the command to a picture, and to a key that was typed then; beside it an empty app."""
    splash, shown, empty = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        env = {"PYTHONPATH": str(FOLDER), "PICOCHAT_CONFIG": folder}
        for _ in range(STARTS):
            terminal = Terminal([sys.executable, "-m", "picochat", "workbench"], env=env, cwd=folder)
            wall = terminal.until(lambda text: "Ask something." in text)
            splash.append((wall, work(terminal)))
            letter = chr(FIRST_LETTER).encode()
            terminal.write(letter)
            shown.append((wall + terminal.until_written(letter), work(terminal)))
            quit_app(terminal)
            terminal = Terminal([sys.executable, "-c", EMPTY_APP], env=env, cwd=folder)
            wall = terminal.until(lambda text: "Ask something." in text)
            empty.append((wall, work(terminal)))
            quit_app(terminal)
    return [
        row("first picture", splash[1:], "300 ms"),
        row("  the app, with a key that was typed meanwhile", shown[1:], ""),
        row("  an empty Textual app", empty[1:], ""),
    ]


def typing_and_stopping() -> list[Row]:
    """A key until it is seen while tokens stream; a stop until nothing more comes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        terminal = start(folder, rate=RATE)
        terminal.write(b"endless\r")
        terminal.until(lambda text: "echo endless" in text)
        terminal.read_for(1)
        keys = [_key(terminal, i) for i in range(KEYS)]
        terminal.write(ESCAPE)
        terminal.until(lambda text: "stopped" in text)
        # Once for every line that the prompt has grown to.
        for _ in range(4):
            terminal.write(b"\x15")
            terminal.read_for(0.2)
        terminal.until(lambda text: "Ask something" in text)
        stops = [_stop(terminal, ESCAPE) for _ in range(STOPS)]
        plain_stops = [_stop(terminal, PLAIN_ESCAPE) for _ in range(STOPS)]
        quit_app(terminal)
        stalls = worst_stall(folder)
    return [
        row(f"typed key is seen, {RATE} tok/s", keys, "30 ms"),
        row("stop until nothing more comes", stops, f"50 ms + one token ({1000 / RATE:.0f} ms)"),
        row("  in a terminal without the kitty protocol", plain_stops, "the same"),
        stalls,
    ]


def _key(terminal: Terminal, number: int) -> Times:
    """Type a letter that stands nowhere on the screen; return how long it takes to be written there."""
    terminal.read_for(0.03)
    letter = chr(FIRST_LETTER + number).encode()
    before = work(terminal)
    terminal.write(letter)
    return terminal.until_written(letter), work(terminal) - before


def _stop(terminal: Terminal, escape: bytes) -> Times:
    """Stop an answer; return how long it takes until the screen says so, after which nothing more comes."""
    terminal.write(b"\x0e")
    terminal.until(lambda text: "A new conversation" in text)
    terminal.write(b"endless\r")
    terminal.until(lambda text: "endless echo endless" in text and "tok/s" in text and "reading" not in text)
    terminal.read_for(0.3)
    # What has come so far is not to be drawn in the time that is measured.
    assert "stopped" not in _last_answer(terminal.text)
    before = work(terminal)
    terminal.write(escape)
    stopped = terminal.until_written(b"stopped")
    busy = work(terminal) - before
    terminal.read_for(0.5)
    shown = _last_answer(terminal.text)
    terminal.read_for(0.3)
    assert _last_answer(terminal.text) == shown, "tokens came after the stop"
    return stopped, busy


def _last_answer(text: str) -> str:
    lines = [line.split("│")[0] for line in text.splitlines() if line.startswith(" ▌")]
    return "\n".join(lines[-2:])


def long_message() -> list[Row]:
    """One answer of 40,000 tokens, as fast as they come, then walked over and resized."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        terminal = start(folder)
        before = memory(terminal)
        busy = -work(terminal)
        terminal.write(f"story {LONG}\r".encode())
        seconds = terminal.until(lambda text: f"{LONG} tokens" in text, 300)
        busy += work(terminal)
        after = memory(terminal)
        terminal.write(b"\x1b[17~")
        terminal.read_for(1)
        keys = [_key(terminal, i) for i in range(20)]
        quit_app(terminal)
        stalls = worst_stall(folder)
    return [
        (f"{LONG} tokens in one message", f"{after:.0f} MB", f"+{after - before:.0f} MB", "", "150 MB"),
        (
            "  all of them shown after",
            f"{seconds:.1f} s",
            f"{LONG / seconds:.0f}/s",
            f"{LONG / busy:.0f}/s",
            f"{RATE}/s",
        ),
        stalls,
        row("  typed key is seen", keys, "30 ms"),
    ]


def many_messages() -> list[Row]:
    """A chat of 500 messages: opened, typed into, asked, and the terminal's focus lost and regained."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_conversation(folder / "chats")
        terminal = start(folder, rate=RATE)
        terminal.write(b"\x0f")
        terminal.until(lambda text: f"({MANY} messages" in text)
        began, busy = time.perf_counter(), -work(terminal)
        terminal.write(b"\r")
        terminal.until(lambda text: f"question {MANY // 2 - 1}" in text and "conversations" not in text)
        opened = time.perf_counter() - began
        busy += work(terminal)
        keys = [_key(terminal, i) for i in range(30)]
        focus = []
        for i in range(10):
            terminal.write(FOCUS_OUT_AND_IN)
            focus.append(_key(terminal, 100 + i))
        size = memory(terminal)
        quit_app(terminal)
        stalls = worst_stall(folder)
    return [
        (f"{MANY} messages in a chat", f"{size:.0f} MB", "", "", "150 MB"),
        ("  opened in", _ms(opened), "", _ms(busy), ""),
        row("  typed key is seen", keys, "30 ms"),
        row("  key after focus out and in", focus, "100 ms"),
        stalls,
    ]


def write_conversation(folder: Path) -> None:
    """Write a conversation of `MANY` messages, each answer with its tokens and their alternatives."""
    others = tuple(Alternative(i, f" other{i}", -float(i)) for i in range(1, 6))
    words = [f" word{i}" for i in range(300)]
    talk = Conversation(title="many")
    parent = ROOT
    for number in range(MANY // 2):
        question = Question(parent=parent, text=f"question {number}")
        said = [words[(number * 7 + i) % len(words)] for i in range(TOKENS_PER_MESSAGE)]
        tokens = TokenList(TokenInfo(i, "text", w, w, -0.5, alternatives=others) for i, w in enumerate(said))
        answer = Answer(parent=question.id, tokens=tokens, reason="stop", model="tiny")
        talk.add(question)
        talk.add(answer)
        parent = answer.id
    Store(folder).write(talk)


if __name__ == "__main__":
    main()
