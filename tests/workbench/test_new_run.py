"""Runs that are begun or gone on with from the workbench; a real training among them."""

import time
from pathlib import Path

import pytest
from textual.widgets import Input, Select, Static

from picochat.train.run_dir import RunDir, write_json
from tests.workbench.make_runs import NOW, drive, write_run
from tests.workbench.monitoring import SIZES, enter
from tests.workbench.screen_text import check_golden, wait_for_text, wait_until
from workbench import run_actions
from workbench.screens.dialogs import Confirm
from workbench.screens.new_run import NewRun
from workbench.widgets.plot import Plot

pytestmark = pytest.mark.usefixtures("still")


@pytest.mark.parametrize("size", SIZES)
def test_the_form_of_a_new_run(size, monkeypatch):
    write_run(Path("runs/base"))
    begun = []

    def start(stage, arguments, *, name, runs_dir, is_new=True):
        begun.append((stage, arguments, name, is_new))

    monkeypatch.setattr(run_actions, "start", start)

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await wait_until(app, lambda: screen.watched == "base")
        await pilot.press("n")
        await wait_until(app, lambda: isinstance(app.screen, NewRun))
        await pilot.pause()
        form = app.screen
        assert form.query_one("#name", Input).value == "pretrain-1"
        await check_golden(app, "new-run")
        form.query_one("#others", Input).value = "--sed 1"
        await pilot.press("ctrl+s")
        await wait_for_text(app, "did you mean --seed")
        form.query_one("#others", Input).value = "--seed '"
        await pilot.press("ctrl+s")
        await wait_for_text(app, "others: No closing quotation")
        form.query_one("#others", Input).value = ""
        form.query_one("#field0", Input).value = "'5"
        await pilot.press("ctrl+s")
        await wait_for_text(app, "steps: No closing quotation")
        form.query_one("#field0", Input).value = ""
        form.query_one("#others", Input).value = "--help"
        await pilot.press("ctrl+s")
        await wait_for_text(app, "options only")
        form.query_one("#others", Input).value = "--seed 3"
        form.query_one("#name", Input).value = "base"
        await pilot.press("ctrl+s")
        await wait_for_text(app, "base is taken")
        form.query_one("#name", Input).value = "pretrain-1"
        form.query_one("#stage", Select).value = "sft"
        await wait_until(app, lambda: form.query_one("#name", Input).value == "sft-1")
        assert form.query_one("#load", Input).value == "base"
        # The line has its place in the order of focus only when it was laid out.
        await wait_until(app, lambda: [widget.id for widget in form.focus_chain][2:4] == ["name", "load"])
        await pilot.press("tab", "tab", *"25", "enter")
        await wait_until(app, lambda: begun)
        assert begun == [("sft", ["--load", "base", "--steps", "25", "--seed", "3"], "sft-1", True)]
        await pilot.press("n")
        await wait_until(app, lambda: isinstance(app.screen, NewRun))
        await pilot.press("escape")
        await wait_until(app, lambda: app.screen is screen)

    drive(script, size)


def test_a_stopped_run_is_gone_on_with(monkeypatch):
    write_run(Path("runs/a"), state="stopped", done=50)
    begun = []

    monkeypatch.setattr(run_actions, "start", lambda stage, arguments, **more: begun.append((stage, more)))

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await wait_until(app, lambda: screen.watched == "a")
        await pilot.press("r")
        await wait_until(app, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await wait_until(app, lambda: begun)
        assert begun == [("pretrain", {"name": "a", "runs_dir": Path("runs"), "is_new": False})]
        write_json(Path("runs/a/status.json"), {"state": "finished", "step": 200, "heartbeat": NOW})
        await wait_until(app, lambda: screen.facts and screen.facts.state == "finished")
        await pilot.press("r")
        await wait_for_text(app, "a has nothing left to do")

    drive(script)


def test_a_real_run_is_watched_paused_and_stopped(monkeypatch, tmp_path):
    """The whole way: begun from the form, steered by keys, still there when the workbench has ended."""
    monkeypatch.setattr("picochat.train.run_dir.time", time)
    monkeypatch.setattr("workbench.clock.now", time.time)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    text = Path("text.txt")
    text.write_text("The cat sat on the mat.\n\nA dog ran to the old house.\n\n" * 200, encoding="utf-8")
    options = "--val-data text.txt --depth 1 --batch-size 2 --seq-len 16 --vocab-size 300 --eval-tokens 64"
    run = RunDir(Path("runs/real"))

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await pilot.press("n")
        await wait_until(app, lambda: isinstance(app.screen, NewRun))
        form = app.screen
        form.query_one("#name", Input).value = "real"
        for label, value in (("steps", "1000000"), ("data", "text.txt"), ("save every", "0")):
            row = next(row for row in form.query(".form-row") if str(row.query_one("Label").content) == label)
            row.query_one(Input).value = value
        form.query_one("#others", Input).value = options
        await pilot.press("ctrl+s")
        await wait_until(app, lambda: app.screen is screen and screen.watched == "real")
        await wait_until(app, lambda: run.exists() and run.status()["step"] > 3)
        await wait_until(app, lambda: screen.query_one(Plot).lines)
        await pilot.press("p")
        await wait_until(app, lambda: run.status()["state"] == "paused")
        await wait_for_text(app, "‖ paused")

    drive(script)
    assert run.is_live(), "quitting does not end a run"

    async def again(app, pilot):
        screen = await enter(app, pilot)
        await wait_until(app, lambda: screen.watched == "real" and screen.facts.state == "paused")
        await pilot.press("r")
        await wait_until(app, lambda: run.status()["state"] == "running")
        await pilot.press("x")
        await wait_until(app, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await wait_until(app, lambda: run.status()["state"] == "stopped")
        await wait_for_text(app, "■ stopped")
        await pilot.press("4")
        log = screen.query_one("#log-text", Static)
        await wait_until(app, lambda: "picochat pretrain --run real" in str(log.content))

    drive(again)
    assert list(run.checkpoints())
