"""The screen that watches runs, driven by keys and mouse; a real training run beside it."""

import json
import os
import shutil
import time
from pathlib import Path

import psutil
import pytest
from textual.widgets import ContentSwitcher, Input, Select, Static

from picochat.train.run_dir import RunDir, write_json
from picochat.train.tail import Tail
from tests.workbench.make_runs import (
    NOW,
    drive,
    rollout_row,
    step_row,
    stop_clocks,
    write_rows,
    write_run,
    write_world,
)
from tests.workbench.screen_text import check_golden, screen_text, wait_until
from workbench import run_actions
from workbench.screens.dialogs import Confirm
from workbench.screens.monitor import MonitorScreen
from workbench.screens.new_run import NewRun
from workbench.screens.rollouts import RolloutsScreen
from workbench.series import MOST_POINTS, Series
from workbench.widgets.plot import Plot
from workbench.widgets.strip import ModeStrip
from workbench.widgets.table import StillTable

SIZES = [(80, 24), (120, 40)]


@pytest.fixture(autouse=True)
def still(monkeypatch, tmp_path):
    stop_clocks(monkeypatch, tmp_path)


async def enter(app, pilot) -> MonitorScreen:
    await pilot.press("f4")
    await wait_until(app, lambda: isinstance(app.screen, MonitorScreen))
    await pilot.pause()
    return app.screen


async def at(app, pilot, screen, name: str) -> None:
    """Put the cursor of the list at a run."""
    table = screen.query_one(StillTable)
    await wait_until(app, lambda: name in [key for key, _ in table._shown])
    table.move_cursor(row=[key for key, _ in table._shown].index(name))
    await pilot.pause()


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
        await wait_until(app, lambda: "no runs in runs yet: n begins one" in screen_text(app))
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
        assert "━ validation" in screen_text(app)
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
        assert " log" in screen_text(app)
        plot.focus()
        await pilot.press("left", "left")
        assert 180 < plot.cursor < 200
        assert [other.cursor for other in screen.query(Plot)] == [plot.cursor] * 4
        assert f"step {plot.cursor:.0f}" in screen_text(app)
        await pilot.press("plus")
        await pilot.pause()
        assert "└1 " not in screen_text(app).split("grad_norm")[0]
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
        await wait_until(app, lambda: "upon a time, at step 0" in screen_text(app))
        assert screen.query_one(Plot).title == "reward"
        await pilot.press("2")
        await wait_until(app, lambda: "1/2 +0.60 gsm8k What is 2 and 3, problem 1?" in screen_text(app))
        write_rows(path / "rollouts.jsonl", [rollout_row(2)], mode="a")
        await wait_until(app, lambda: "problem 2?" in screen_text(app))
        await pilot.press("3")
        await wait_until(app, lambda: "runs/a/checkpoints/[b]" in screen_text(app))
        await pilot.press("4")
        await wait_until(app, lambda: "told ␛[31m[b]so" in screen_text(app))
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
        await wait_until(app, lambda: "train/3" in screen_text(app))
        await pilot.press("down")
        await wait_until(app, lambda: "train/2" in screen_text(app))
        await check_golden(app, "rollouts")
        assert "[red]6␛[31m." in screen_text(app)
        await pilot.press("w")
        await wait_until(app, lambda: "2 groups" in screen_text(app))
        write_rows(path / "rollouts.jsonl", [rollout_row(4)], mode="a")
        await wait_until(app, lambda: "3 groups" in screen_text(app))
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
        await wait_until(app, lambda: "no word for 8 min" in screen_text(app))
        screen.attach("crashed")
        await wait_until(app, lambda: "RuntimeError: no memory for [b]this␛[31m" in screen_text(app))
        screen.attach("failed")
        await wait_until(app, lambda: "the loss is [b]not a number" in screen_text(app))
        await pilot.press("p")
        await wait_until(app, lambda: "failed is not in training" in screen_text(app))

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
        await wait_until(app, lambda: "2 damaged lines" in screen_text(app))
        Path("runs/b/metrics.jsonl").write_bytes(b"")
        await wait_until(app, lambda: not screen.query_one(Plot).lines)
        shutil.rmtree("runs/b")
        await wait_until(app, lambda: screen.watched == "a")
        shutil.rmtree("runs/a")
        await wait_until(app, lambda: "no runs in runs yet" in screen_text(app))

    drive(script)


def test_a_long_run_is_read_in_slices(monkeypatch):
    path = write_run(Path("runs/a"), done=1, saved=())
    write_rows(path / "metrics.jsonl", [step_row(step, 1.0) for step in range(1, 5_000)])
    monkeypatch.setattr("workbench.run_reader.SHOW_SECONDS", 0.0)
    seen = set()
    draw = MonitorScreen._draw

    def noted(screen):
        draw(screen)
        if screen.watched:
            seen.add(screen._reader("a").share_read)

    monkeypatch.setattr(MonitorScreen, "_draw", noted)

    async def script(app, pilot):
        screen = await enter(app, pilot)
        plot = screen.query_one(Plot)
        await wait_until(app, lambda: plot.lines and plot.lines[0].steps[-1] == 4_999)

    drive(script)
    assert len(seen) > 5, "the screen is drawn while the file is read"


MANY = 1_000_000


def write_many_rows() -> Path:
    """Write a run of a million steps; return its metrics."""
    path = write_run(Path("runs/a"), done=1, saved=()) / "metrics.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(
            f'{{"event": "step", "step": {step}, "loss": {2 + step % 7}, "lr": {{"matrices": 0.02}}}}\n'
            for step in range(1, MANY + 1)
        )
    return path


def test_a_million_rows_keep_nobody_waiting(monkeypatch):
    write_many_rows()
    parsed, at_first, parse, draw = [], [], Tail._parse, MonitorScreen._draw

    def counted(tail, lines):
        parsed.append(len(lines))
        return parse(tail, lines)

    def noted(screen):
        draw(screen)
        if screen.watched:
            at_first.append(sum(parsed))

    monkeypatch.setattr(Tail, "_parse", counted)
    monkeypatch.setattr(MonitorScreen, "_draw", noted)

    async def script(app, pilot):
        screen = await enter(app, pilot)
        plot = screen.query_one(Plot)
        await wait_until(app, lambda: plot.lines)
        await pilot.press("l")
        await wait_until(app, lambda: plot.is_log and "reading" in screen_text(app))
        assert screen._reader("a").is_behind, "keys are obeyed meanwhile"

    drive(script)
    assert 0 < at_first[0] < 10_000, "the screen is there before much is read"
    assert max(parsed) < 5_000, "nothing comes between two slices of so many rows"


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


@pytest.mark.slow
def test_a_million_rows_take_little_memory():
    size = write_many_rows().stat().st_size
    process = psutil.Process()

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await wait_until(app, lambda: screen._readers)
        before, most = process.memory_info().rss, 0
        reader = screen._reader("a")
        limit = time.monotonic() + 600
        while reader.curves.last_step.get("step") != MANY:
            assert time.monotonic() < limit, screen_text(app)
            await pilot.pause(0.05)
            most = max(most, process.memory_info().rss - before)
        assert all(len(series) <= MOST_POINTS + 1000 for series in reader.curves.series.values())
        assert most < size / 3, f"{most / 1e6:.0f} MB for a file of {size / 1e6:.0f} MB"

    drive(script)


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
        await wait_until(app, lambda: "did you mean --seed" in screen_text(app))
        form.query_one("#others", Input).value = "--seed '"
        await pilot.press("ctrl+s")
        await wait_until(app, lambda: "others: No closing quotation" in screen_text(app))
        form.query_one("#others", Input).value = ""
        form.query_one("#field0", Input).value = "'5"
        await pilot.press("ctrl+s")
        await wait_until(app, lambda: "steps: No closing quotation" in screen_text(app))
        form.query_one("#field0", Input).value = ""
        form.query_one("#others", Input).value = "--help"
        await pilot.press("ctrl+s")
        await wait_until(app, lambda: "options only" in screen_text(app))
        form.query_one("#others", Input).value = "--seed 3"
        form.query_one("#name", Input).value = "base"
        await pilot.press("ctrl+s")
        await wait_until(app, lambda: "base is taken" in screen_text(app))
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
        await wait_until(app, lambda: "a has nothing left to do" in screen_text(app))

    drive(script)


def test_drawing_is_quick():
    series = Series()
    series.steps.extend(range(16_000))
    series.values.extend(1.0 / (1 + step % 97) for step in range(16_000))
    path = write_run(Path("runs/a"), done=1)

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await wait_until(app, lambda: screen.watched == "a")
        curves = screen._reader("a").curves
        for name in ("loss", "grad_norm", "tokens_per_second", "eval bpb"):
            curves.series[name] = series
        began = time.process_time()
        screen._draw()
        for plot in screen.query(Plot):
            plot._draw()
        assert time.process_time() - began < 2.0

    drive(script)
    assert path.exists()


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
        await wait_until(app, lambda: "‖ paused" in screen_text(app))

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
        await wait_until(app, lambda: "■ stopped" in screen_text(app))
        await pilot.press("4")
        log = screen.query_one("#log-text", Static)
        await wait_until(app, lambda: "picochat pretrain --run real" in str(log.content))

    drive(again)
    assert list(run.checkpoints())
