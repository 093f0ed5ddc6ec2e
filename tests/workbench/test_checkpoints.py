"""The screen of runs and checkpoints, driven by keys and mouse."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from textual.widgets import ContentSwitcher, Input, Static

from picochat.train.run_dir import RunDir
from tests.workbench.make_runs import drive, step_row, write_rows, write_run, write_world
from tests.workbench.screen_text import check_golden, screen_text, wait_for_text, wait_until
from workbench.screens.checkpoints import CheckpointsScreen
from workbench.screens.compare import CompareScreen
from workbench.screens.dialogs import Ask, Confirm
from workbench.screens.monitor import MonitorScreen
from workbench.screens.tensors import TensorsScreen
from workbench.widgets.plot import Plot
from workbench.widgets.table import StillTable

pytestmark = pytest.mark.usefixtures("still")

SIZES = [(80, 24), (120, 40)]


async def enter(app, pilot) -> CheckpointsScreen:
    await pilot.press("f3")
    await wait_until(app, lambda: isinstance(app.screen, CheckpointsScreen))
    await wait_until(
        app, lambda: app.screen.query_one(StillTable).row_count or not any(Path().glob("runs/*"))
    )
    await pilot.pause()
    return app.screen


def keys(screen) -> list[str]:
    return [row.key for row in screen.rows]


async def go_to(app, pilot, screen, key: str) -> None:
    screen.query_one(StillTable).move_cursor(row=keys(screen).index(key))
    await pilot.pause()
    await wait_until(app, lambda: screen.chosen == key)


@pytest.mark.parametrize("size", SIZES)
def test_the_tree_looks_as_it_did(size):
    write_world(Path("runs"))
    with RunDir(Path("runs/demo")).lock():

        async def script(app, pilot):
            screen = await enter(app, pilot)
            await go_to(app, pilot, screen, "base/200")
            await wait_until(app, lambda: screen.query_one(Plot).lines)
            await pilot.pause()
            await check_golden(app, "checkpoints")

        drive(script, size)


def test_no_runs_at_all():
    async def script(app, pilot):
        await enter(app, pilot)
        await wait_for_text(app, "no runs in runs yet")
        await pilot.press("d", "e", "p", "t", "space", "enter")
        assert isinstance(app.screen, CheckpointsScreen)

    drive(script)


def test_parts_filter_order_and_folds():
    write_world(Path("runs"))
    Path("runs/base/log.txt").write_text("said \x1b[31m[b]that\n", encoding="utf-8")

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await go_to(app, pilot, screen, "base")
        await pilot.press("2")
        await wait_for_text(app, "upon a time, at step 200")
        await pilot.press("3")
        await wait_for_text(app, "--lr 0.5")
        await wait_for_text(app, "n_embd 128")
        await pilot.press("4")
        await wait_for_text(app, "said ␛[31m[b]that")
        await pilot.click("#parts", offset=(3, 0))
        assert screen.query_one(ContentSwitcher).current == "overview"
        await pilot.press("f")
        assert "base/100" not in keys(screen)
        await pilot.press("f")
        assert "base/100" in keys(screen)
        await pilot.press("slash", *"tuned", "enter")
        await wait_until(app, lambda: keys(screen) == ["base", "base/100", "base/200", "tuned", "tuned/200",
                                                       "demo", "demo/50"])  # fmt: skip
        await pilot.press("escape")
        await wait_until(app, lambda: "odd" in keys(screen))
        assert not screen.query_one("#filter", Input).display
        await pilot.press("s", "s")
        assert screen.order == "name"
        assert keys(screen)[:3] == ["base", "base/100", "base/200"]
        await pilot.press("G")
        assert screen.chosen == keys(screen)[-1]
        await pilot.press("g", "j")
        assert screen.chosen == "base/100"
        await pilot.click("#runs", offset=(5, 4))
        assert screen.chosen == keys(screen)[3]

    drive(script)


@pytest.mark.parametrize("size", SIZES)
def test_a_checkpoint_is_loaded(size):
    write_world(Path("runs"))

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await go_to(app, pilot, screen, "base/100")
        await pilot.press("enter")
        await wait_until(app, lambda: app.loaded and app.load_name == "base@100")
        screen = await enter(app, pilot)
        await go_to(app, pilot, screen, "rust")
        await pilot.press("enter")
        await wait_until(app, lambda: app.loaded and app.load_name == "runs/rust")

    drive(script, size)


def test_deleting_asks_first_and_tells_who_began_from_it():
    write_world(Path("runs"))
    folder = Path("runs/base/checkpoints/step-00000200")

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await go_to(app, pilot, screen, "base/200")
        await pilot.press("d")
        await wait_until(app, lambda: isinstance(app.screen, Confirm))
        await wait_for_text(app, "tuned began from it")
        await pilot.press("n")
        await wait_until(app, lambda: app.screen is screen)
        assert folder.exists()
        await pilot.press("d")
        await wait_until(app, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await wait_until(app, lambda: not folder.exists() and "base/200" not in keys(screen))
        await go_to(app, pilot, screen, "void")
        await pilot.press("d")
        await wait_until(app, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await wait_until(app, lambda: "void" not in keys(screen))

    drive(script)


def test_a_live_run_is_steered_but_neither_deleted_nor_renamed():
    write_world(Path("runs"))
    control = Path("runs/demo/control.json")

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await go_to(app, pilot, screen, "demo")
        await pilot.press("d")
        await wait_for_text(app, "demo is in training; stop it first")
        await pilot.press("e")
        await wait_until(app, lambda: isinstance(app.screen, Ask))
        await pilot.press("2", "enter")
        await wait_until(app, lambda: app.screen is screen)
        assert Path("runs/demo").exists()
        for key, command in (("p", "pause"), ("r", "resume"), ("c", "checkpoint")):
            await pilot.press(key)
            await wait_until(app, lambda: command in control.read_text() if control.exists() else False)  # noqa: B023
        await pilot.press("x")
        await wait_until(app, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await wait_until(app, lambda: json.loads(control.read_text())["command"] == "stop")

    with RunDir(Path("runs/demo")).lock():
        drive(script)


def test_a_run_is_renamed():
    write_run(Path("runs/a"))

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await pilot.press("p")
        await wait_for_text(app, "a is not in training")
        await pilot.press("e")
        await wait_until(app, lambda: isinstance(app.screen, Ask))
        await pilot.press("ctrl+u", *"b@", "enter")
        await wait_for_text(app, "one plain folder name")
        await pilot.press("e")
        await wait_until(app, lambda: isinstance(app.screen, Ask))
        await pilot.press("ctrl+u", "b", "enter")
        await wait_until(app, lambda: "b" in keys(screen))
        assert Path("runs/b/run.json").exists()

    drive(script)


def test_ways_to_the_other_screens():
    write_world(Path("runs"))

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await go_to(app, pilot, screen, "base")
        await pilot.press("t")
        await wait_until(app, lambda: isinstance(app.screen, TensorsScreen) and app.screen.file)
        assert app.screen.file.path.parent.name == "step-00000200"
        await pilot.press("escape")
        await wait_until(app, lambda: app.screen is screen)
        await pilot.press("m")
        await wait_until(app, lambda: isinstance(app.screen, MonitorScreen) and app.screen.watched == "base")
        await pilot.press("f3")
        await wait_until(app, lambda: app.screen is screen)
        await go_to(app, pilot, screen, "base/100")
        await pilot.press("space")
        await wait_for_text(app, "◆")
        await go_to(app, pilot, screen, "tuned/200")
        await pilot.press("v")
        await wait_until(app, lambda: isinstance(app.screen, CompareScreen))
        await wait_until(app, lambda: all(side.loaded for side in app.screen.sides))
        assert [side.name for side in app.screen.sides] == ["base@100", "tuned@200"]
        await pilot.click("NameStrip", offset=(14, 0))
        await wait_until(app, lambda: app.screen is screen)

    drive(script)


@pytest.mark.parametrize(("key", "kind"), [("m", MonitorScreen), ("v", CompareScreen), ("t", TensorsScreen)])
def test_a_dialog_that_is_there_before_the_screen_is(key, kind):
    """As when somebody types a sentence into the wrong screen: "m" opens the monitor, "d" asks at once."""
    write_world(Path("runs"))

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await go_to(app, pilot, screen, "base")
        switch_mode = app.switch_mode

        async def switch_and_ask(mode: str) -> None:
            await switch_mode(mode)
            await app.push_screen(Confirm("delete?"))

        app.switch_mode = switch_and_ask
        await pilot.press(key)
        await wait_until(app, lambda: any(isinstance(one, Confirm) for one in app.screen_stack))
        await pilot.pause()
        assert any(isinstance(one, kind) for one in app.screen_stack)

    drive(script)


def test_a_screen_that_is_not_built_yet_is_left_alone():
    write_world(Path("runs"))

    async def script(app, pilot):
        screen = await enter(app, pilot)
        coming = app.switch_mode("compare")
        assert await screen._go_to("compare", CompareScreen) is None
        await coming
        assert await screen._go_to("compare", CompareScreen) is app.screen

    drive(script)


def test_a_folder_that_changes_while_it_is_looked_at():
    write_world(Path("runs"))

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await go_to(app, pilot, screen, "tuned")
        write_rows(Path("runs/tuned/metrics.jsonl"), [step_row(201, 0.25)], mode="a")
        Path("runs/base/run.json").write_text("{", encoding="utf-8")
        screen.refresh_runs()
        await wait_for_text(app, "✗ damaged")
        assert screen.chosen == "tuned"
        await wait_until(app, lambda: screen.query_one(Plot).lines[0].steps[-1] == 201)
        shutil.rmtree("runs/tuned")
        screen.refresh_runs()
        await wait_until(app, lambda: "tuned" not in keys(screen))
        shutil.rmtree("runs")
        screen.refresh_runs()
        await wait_until(
            app, lambda: "no runs in runs yet" in str(screen.query_one("#facts", Static).content)
        )

    drive(script)


def test_two_workbenches_see_the_same_folder():
    write_world(Path("runs"))

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await go_to(app, pilot, screen, "base/100")

        async def other(second, second_pilot):
            theirs = await enter(second, second_pilot)
            await go_to(second, second_pilot, theirs, "base/100")
            await second_pilot.press("d")
            await wait_until(second, lambda: isinstance(second.screen, Confirm))
            await second_pilot.press("y")
            await wait_until(second, lambda: "base/100" not in keys(theirs))

        # The first one asks too, and is answered after the second has deleted it.
        await pilot.press("d")
        await wait_until(app, lambda: isinstance(app.screen, Confirm))
        await asyncio.to_thread(drive, other)
        await pilot.press("y")
        await wait_until(app, lambda: app.screen is screen and "base/100" not in keys(screen))
        assert "base/200" in keys(screen)

    drive(script)


def test_without_colours_states_have_marks(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    write_world(Path("runs"))

    async def script(app, pilot):
        screen = await enter(app, pilot)
        await go_to(app, pilot, screen, "base")
        shown = screen_text(app)
        assert "✗ damaged" in shown
        assert "✓ finished" in shown
        colours = {
            segment.style.color.name
            for strip in app.screen._compositor.render_strips()
            for segment in strip
            if segment.style and segment.style.color and segment.style.color.triplet
            and len({*segment.style.color.triplet}) > 1
        }  # fmt: skip
        assert not colours

    drive(script)
