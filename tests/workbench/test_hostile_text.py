"""Texts that look like colours, links or commands to a terminal are shown as they are, everywhere."""

import os
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.app import App
from textual.widgets import Input, TextArea

from picochat.train.run_dir import RunDir
from tests.workbench.driving import answered, ask, loaded, run, shown, wait
from tests.workbench.make_runs import (
    NOW,
    drive,
    rollout_row,
    step_row,
    write_rows,
    write_run,
)
from tests.workbench.screen_text import screen_text, wait_until
from workbench.screens.checkpoints import CheckpointsScreen
from workbench.screens.dialogs import Ask, AskPage, Choose, Confirm
from workbench.screens.monitor import MonitorScreen
from workbench.screens.new_run import NewRun
from workbench.screens.rollouts import RolloutsScreen
from workbench.visible import UNSAFE
from workbench.widgets.prompt import Prompt

pytestmark = pytest.mark.usefixtures("still")

HOSTILE = "[link=x]a[red]b\x1b[31mc\x1b]8;;x\x07"
SHOWN = "[link=x]a[red]b␛[31mc␛]8;;x␇"


def obeyed(app: App[Any]) -> list[str]:
    """Return what stands on the screen and would be a command to the terminal, or is a link."""
    strips = app.screen._compositor.render_strips()
    segments = [segment for strip in strips for segment in strip]
    return [s.text for s in segments if UNSAFE.search(s.text) or (s.style is not None and s.style.link)]


async def check(app: App[Any], text: str = SHOWN) -> None:
    """Wait until the text is shown as it is, and nothing on the screen is obeyed."""
    await wait_until(app, lambda: text in screen_text(app))
    assert obeyed(app) == []


def write_hostile_run() -> Path:
    path = write_run(Path("runs") / HOSTILE, stage="grpo", state="running", done=50, saved=(50,))
    write_rows(path / "metrics.jsonl", [step_row(51, 1.0, **{HOSTILE: 1.0})], mode="a")
    write_rows(path / "metrics.jsonl", [{"event": HOSTILE, "step": 51}], mode="a")
    sample = {"event": "sample", "step": 50, "prompt": f"asked {HOSTILE}", "text": f"said {HOSTILE}"}
    write_rows(path / "samples.jsonl", [sample])
    group = {**rollout_row(1), "task": HOSTILE, "problem": HOSTILE, "gold": HOSTILE}
    write_rows(path / "rollouts.jsonl", [group])
    log = path / "log.txt"
    log.write_text(f"logged {HOSTILE}\n", encoding="utf-8")
    os.utime(log, (NOW, NOW))
    return path


def test_what_a_run_is_called_and_says():
    path = write_hostile_run()
    write_run(Path("runs/other"), age=9000)

    async def script(app, pilot):
        await pilot.press("f4")
        await wait_until(app, lambda: isinstance(app.screen, MonitorScreen) and app.screen.watched)
        screen = app.screen
        assert screen.watched == HOSTILE
        for part, text in (
            ("1", f"asked {SHOWN}said {SHOWN}"),
            ("2", SHOWN),
            ("3", SHOWN[:9]),
            ("4", f"logged {SHOWN}"),
        ):
            await pilot.press(part)
            await check(app, text)
        # Its numbers have such names too.
        await pilot.press("comma")
        await check(app, f" {SHOWN} ")
        await pilot.press("down", "space")
        await wait_until(app, lambda: len(screen._shown_names()) == 2)
        await check(app)
        await pilot.press("o")
        await wait_until(app, lambda: isinstance(app.screen, RolloutsScreen))
        await check(app, f"rollouts of {SHOWN}")
        await pilot.press("escape", "x")
        await wait_until(app, lambda: isinstance(app.screen, Confirm))
        await check(app, f"stop {SHOWN}?")
        await pilot.press("n", "p")
        await check(app, f"asked {SHOWN} to pause")
        await pilot.press("n")
        await wait_until(app, lambda: isinstance(app.screen, NewRun))
        await check(app)

    with RunDir(path).lock():
        drive(script, (160, 50))


def test_the_same_run_among_the_checkpoints():
    write_hostile_run()

    async def script(app, pilot):
        await pilot.press("f3")
        await wait_until(app, lambda: isinstance(app.screen, CheckpointsScreen) and app.screen.chosen)
        for part, text in (
            ("1", SHOWN),
            ("2", f"said {SHOWN}"),
            ("3", SHOWN),
            ("4", f"logged {SHOWN}"),
        ):
            await pilot.press(part)
            await check(app, text)
        await pilot.press("d")
        await wait_until(app, lambda: isinstance(app.screen, Confirm))
        await check(app)
        await pilot.press("n", "e")
        await wait_until(app, lambda: isinstance(app.screen, Ask))
        await check(app)

    drive(script, (160, 50))


def test_what_a_conversation_is_called(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "one")
        screen.conversation.title = HOSTILE
        screen.store.write(screen.conversation)
        await pilot.press("alt+r")
        await wait(pilot, lambda: pilot.app.screen.query(Input))
        await check(pilot.app)
        await pilot.press("enter", "ctrl+n", "ctrl+o")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Choose))
        await check(pilot.app)
        await pilot.press("ctrl+d")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        assert obeyed(pilot.app) == []
        await pilot.press("n", "enter")
        await wait(pilot, lambda: "echo one" in shown(pilot))
        await check(pilot.app)

    run(tmp_path, script)


def test_what_is_pasted_and_edited(tmp_path):
    async def script(pilot):
        screen = await loaded(pilot)
        prompt = screen.query_one(Prompt)
        prompt.focus()
        pilot.app.post_message(events.Paste(HOSTILE))
        await check(pilot.app)
        assert prompt.text == HOSTILE
        await pilot.press("enter")
        await answered(pilot, 1)
        await check(pilot.app, f"echo {SHOWN}")
        # What is edited is what was said, not what is shown of it.
        await pilot.press("alt+up", "e")
        await wait(pilot, lambda: isinstance(pilot.app.screen, AskPage))
        await check(pilot.app)
        assert pilot.app.screen.query_one(TextArea).text == f" echo {HOSTILE}"

    run(tmp_path, script)
