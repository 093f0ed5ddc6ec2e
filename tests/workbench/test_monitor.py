"""The screen that watches runs, driven by keys and mouse."""

import json
import os
import shutil
from pathlib import Path

import pytest
from textual.widgets import ContentSwitcher

from picochat.train.run_dir import RunDir
from tests.workbench.make_runs import (
    NOW,
    drive,
    rollout_row,
    step_row,
    write_rows,
    write_run,
    write_world,
)
from tests.workbench.monitoring import SIZES, at, enter
from tests.workbench.screen_text import check_golden, screen_text, wait_for_text, wait_until
from workbench.screens.dialogs import Confirm
from workbench.screens.monitor import MonitorScreen
from workbench.screens.rollouts import RolloutsScreen
from workbench.widgets.plot import Plot
from workbench.widgets.strip import ModeStrip
from workbench.widgets.table import StillTable

pytestmark = pytest.mark.usefixtures("still")


@pytest.mark.parametrize("size", SIZES)
def test_a_live_run_looks_as_it_did(size):
    write_world(Path("runs"))

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await wait_until(app, lambda: screen.watched == "demo" and screen.query_one(Plot).lines)
        await pilot.press("2")
        await pilot.pause()
        await check_golden(app, "monitor")

    with RunDir(Path("runs/demo")).lock():
        drive(script, size)


def test_no_runs_at_all():
    async def script(app, pilot):
        await enter(app, pilot)
        await wait_for_text(app, "no runs in runs yet: n begins one")
        await pilot.press("p", "r", "x", "space", "enter", "l", "s", "z", "o", "1", "2", "3", "4")
        await pilot.pause()
        assert isinstance(app.screen, MonitorScreen)

    drive(script)


def test_curves_are_overlaid_scaled_and_walked():
    write_run(Path("runs/a"))
    write_run(Path("runs/b"), age=100)

    async def script(app, pilot):
        screen = await enter(app, pilot)
        plot = screen.query_one(Plot)
        await wait_until(app, lambda: screen.watched == "b" and plot.lines)
        await wait_for_text(app, "━ validation")
        await at(app, pilot, screen, "a")
        await pilot.press("space")
        await wait_until(app, lambda: {line.name for line in plot.lines} == {"a", "b"})
        await pilot.press("space")
        await wait_until(app, lambda: "a" not in {line.name for line in plot.lines})
        assert any(line.is_faint for line in plot.lines)
        await pilot.press("s")
        await wait_until(app, lambda: not any(line.is_faint for line in plot.lines))
        await pilot.press("l")
        assert plot.is_log
        await wait_for_text(app, " log")
        plot.focus()
        await pilot.press("left", "left")
        assert 180 < plot.cursor < 200
        assert [other.cursor for other in screen.query(Plot)] == [plot.cursor] * 4
        await wait_for_text(app, f"step {plot.cursor:.0f}")
        await pilot.press("plus")
        await wait_until(app, lambda: "└1 " not in screen_text(app).split("grad_norm")[0])
        await pilot.press("minus", "0")
        assert plot.cursor is None
        await pilot.click(plot, offset=(30, 4))
        assert 50 < plot.cursor < 200
        await pilot.press("z")
        assert [one.display for one in screen.query(Plot)] == [True, False, False, False]
        await pilot.press("full_stop")
        assert plot.title == "eval bpb"
        await pilot.press("comma")
        assert plot.title == "loss"
        await at(app, pilot, screen, "a")
        screen.query_one(StillTable).focus()
        await pilot.press("enter")
        await wait_until(app, lambda: screen.watched == "a")

    drive(script)


def test_what_a_run_says_as_it_comes():
    path = write_run(Path("runs/a"), stage="grpo", done=50, saved=(50,))
    write_rows(path / "rollouts.jsonl", [rollout_row(1)])
    saved = {"event": "saved", "step": 50, "path": "runs/a/checkpoints/[b]", "seconds": 0.5}
    write_rows(path / "metrics.jsonl", [saved], mode="a")
    (path / "log.txt").write_text("told \x1b[31m[b]so\n", encoding="utf-8")

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await wait_for_text(app, "upon a time, at step 0")
        assert screen.query_one(Plot).title == "reward"
        await pilot.press("2")
        await wait_for_text(app, "1/2 +0.60 gsm8k What is 2 and 3, problem 1?")
        write_rows(path / "rollouts.jsonl", [rollout_row(2)], mode="a")
        await wait_for_text(app, "problem 2?")
        await pilot.press("3")
        await wait_for_text(app, "runs/a/checkpoints/[b]")
        await pilot.press("4")
        await wait_for_text(app, "told ␛[31m[b]so")
        await pilot.click("#parts", offset=(2, 0))
        assert screen.query_one(ContentSwitcher).current == "samples"
        with (path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(step_row(51, 0.125, reward=1.0)) + '\n{"event": "st')
        await wait_until(app, lambda: screen.query_one(Plot).lines[0].steps[-1] == 51)

    drive(script)


@pytest.mark.parametrize("size", SIZES)
def test_rollouts_are_read_group_by_group(size):
    path = write_run(Path("runs/a"), stage="grpo", done=50, saved=())
    same = rollout_row(3)
    same["answers"] = [same["answers"][0]] * 2
    write_rows(path / "rollouts.jsonl", [rollout_row(1), rollout_row(2), same])

    async def script(app, pilot):
        await enter(app, pilot)
        await wait_until(app, lambda: app.screen.watched == "a" and app.screen._reader("a").rollouts)
        await pilot.press("o")
        await wait_until(app, lambda: isinstance(app.screen, RolloutsScreen))
        await wait_for_text(app, "train/3")
        await pilot.press("down")
        await wait_for_text(app, "train/2")
        await check_golden(app, "rollouts")
        await wait_for_text(app, "[red]6␛[31m.")
        await pilot.press("w")
        await wait_for_text(app, "2 groups")
        write_rows(path / "rollouts.jsonl", [rollout_row(4)], mode="a")
        await wait_for_text(app, "3 groups")
        await pilot.press("escape")
        await wait_until(app, lambda: isinstance(app.screen, MonitorScreen))

    drive(script, size)


def test_a_live_run_is_steered():
    write_world(Path("runs"))
    control = Path("runs/demo/control.json")

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await wait_until(app, lambda: screen.watched == "demo")
        for key, command in (("p", "pause"), ("r", "resume"), ("c", "checkpoint")):
            await pilot.press(key)
            await wait_until(app, lambda: control.exists() and command in control.read_text())  # noqa: B023
        await pilot.press("x")
        await wait_until(app, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await wait_until(app, lambda: "stop" in control.read_text())

    with RunDir(Path("runs/demo")).lock():
        drive(script)


def test_stale_crashed_and_distant_runs_are_told_apart():
    for name, more in (
        ("long-step", {"heartbeat": NOW - 500}),
        ("crashed", {"heartbeat": NOW - 500}),
        ("distant", {"heartbeat": NOW - 500, "host": "elsewhere"}),
        ("failed", {"state": "failed", "message": "the loss is [b]not a number"}),
    ):
        write_run(Path("runs") / name, **{"state": "running", "done": 10, "saved": (), **more})

    log = Path("runs/crashed/log.txt")
    log.write_text("step 9\nRuntimeError: no memory for [b]this\x1b[31m\n", encoding="utf-8")
    os.utime(log, (NOW - 499, NOW - 499))

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await wait_until(app, lambda: len(screen.found) == 4)
        shown = screen_text(app)
        assert "● " in next(line for line in shown.splitlines() if "long-step" in line)
        assert "✗   crashed" in shown
        assert "? " in next(line for line in shown.splitlines() if "distant" in line)
        screen.attach("long-step")
        await wait_for_text(app, "no word for 8 min")
        screen.attach("crashed")
        await wait_for_text(app, "RuntimeError: no memory for [b]this␛[31m")
        screen.attach("failed")
        await wait_for_text(app, "the loss is [b]not a number")
        await pilot.press("p")
        await wait_for_text(app, "failed is not in training")

    (Path("runs/long-step/.lock")).touch()
    with RunDir(Path("runs/long-step")).lock():
        drive(script)


def test_a_run_that_is_watched_may_be_deleted_and_damaged():
    write_run(Path("runs/a"))
    write_run(Path("runs/b"), age=100)

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await wait_until(app, lambda: screen.watched == "b" and screen.query_one(Plot).lines)
        with Path("runs/b/metrics.jsonl").open("ab") as file:
            file.write(b"\xff\xff\n[]\n")
        await wait_for_text(app, "2 damaged lines")
        Path("runs/b/metrics.jsonl").write_bytes(b"")
        await wait_until(app, lambda: not screen.query_one(Plot).lines)
        shutil.rmtree("runs/b")
        await wait_until(app, lambda: screen.watched == "a")
        shutil.rmtree("runs/a")
        await wait_for_text(app, "no runs in runs yet")

    drive(script)


def test_what_comes_while_the_app_ends_is_not_drawn():
    write_run(Path("runs/a"))

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await wait_until(app, lambda: screen.watched == "a")
        # Widgets go one after the other, in any order.
        ending = app._prune(screen.query_one(ModeStrip))
        screen._pruning = True
        await ending
        screen._draw()

    drive(script)
