"""What is seen before the app is there, and what becomes of keys that are typed then."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pyte
import pytest

pytest.importorskip("pty")

import termios

from tests.workbench.terminal import Terminal
from tests.workbench.test_terminal import ROOT, is_restored
from workbench.splash import LEAVE, picture, splash

ARGUMENTS = ["import sys", "sys.argv = ['picochat', 'workbench', '--chats-dir', sys.argv[1]]"]


def start(folder: Path, *statements: str) -> Terminal:
    """Run the command line after some statements."""
    code = "\n".join([*ARGUMENTS, *statements, "from picochat.cli import main", "main()"])
    env = {"PYTHONPATH": ROOT, "PICOCHAT_CONFIG": str(folder)}
    return Terminal([sys.executable, "-c", code, str(folder)], env=env)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Terminal]:
    """An app that is never there: Textual's import lasts for ever."""
    (tmp_path / "textual.py").write_text("import time\ntime.sleep(1000)\n")
    terminal = start(tmp_path, f"sys.path.insert(0, {str(tmp_path)!r})")
    yield terminal
    terminal.close()


def test_it_is_seen_before_textual_is_imported_and_ctrl_c_ends_it(held):
    held.until(lambda text: "F3 checkpoints" in text and "Ask something." in text)
    held.write(b"typed")
    held.read_for(0.3)
    assert "typed" not in held.text
    held.process.send_signal(signal.SIGINT)
    assert held.wait() == 130
    assert held.raw.rfind(b"\x1b[?1049l") > held.raw.rfind(b"\x1b[?1049h")
    assert b"interrupted" in held.raw
    assert termios.tcgetattr(held.terminal) == held.before


def test_what_is_typed_meanwhile_stands_in_the_prompt(tmp_path):
    terminal = start(tmp_path)
    terminal.until(lambda text: "Ask something." in text)
    terminal.write("früh".encode())
    terminal.until(lambda text: "│ früh" in text and "no model" in text)
    terminal.write(b"\x11")
    assert terminal.wait() == 0
    assert is_restored(terminal)
    terminal.close()


def test_an_error_gives_the_terminal_back_before_it_is_told(capsys):
    with pytest.raises(ZeroDivisionError), splash():
        _ = 1 / 0
    assert capsys.readouterr().out.endswith(LEAVE)


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 60), (20, 6), (3, 3), (1, 1)])
def test_it_fits_every_size(columns, rows):
    screen = pyte.Screen(columns, rows)
    pyte.Stream(screen).feed(picture(columns, rows))
    assert len(screen.display) == rows
    if rows > 3:
        assert (
            screen.display[0].strip()
            == "F2 chat    F3 checkpoints    F4 monitor    compare    tensors"[: columns - 1].strip()
        )
    if rows == 24:
        assert "Ask something." in screen.display[-3]
        assert screen.display[-4].startswith("╭")
        assert screen.display[-1].strip() == ""
