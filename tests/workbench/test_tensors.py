"""The screen that looks into safetensors files."""

import asyncio
import sys
from pathlib import Path

import numpy as np
import pytest
from textual.widgets import Input

from tests.workbench.make_runs import drive, weights, write_tensors, write_world
from tests.workbench.screen_text import check_golden, wait_for_text, wait_until
from workbench import tensor_client
from workbench.screens.checkpoints import CheckpointsScreen
from workbench.screens.dialogs import Choose
from workbench.screens.tensors import TensorsScreen
from workbench.widgets.table import StillTable

SIZES = [(80, 24), (120, 40)]
BASE = Path("runs/base/checkpoints/step-00000200/model.safetensors")


@pytest.fixture(autouse=True)
def runs(still):
    write_world(Path("runs"))


async def enter(app, pilot, path: Path = BASE) -> TensorsScreen:
    await app.switch_mode("tensors")
    await pilot.pause()
    app.screen.open(path)
    await pilot.pause()
    return app.screen


def shown(screen) -> list[str]:
    return [key for key, _ in screen.query_one(StillTable)._shown]


@pytest.mark.parametrize("size", SIZES)
def test_a_file_looks_as_it_did(size):
    async def script(app, pilot):
        screen = await enter(app, pilot)
        await wait_until(app, lambda: "h.0.attn.c_q.weight" in screen.stats)
        await wait_for_text(app, "rms")
        await check_golden(app, "tensors")
        screen.compare(Path("runs/base/checkpoints/step-00000100/model.safetensors"))
        await wait_until(app, lambda: len(screen.measured) == 6 and not screen._busy)
        await pilot.pause()
        await check_golden(app, "difference")

    drive(script, size)


def test_measuring_sorting_and_filtering():
    async def script(app, pilot):
        screen = await enter(app, pilot)
        await pilot.press("a")
        await wait_until(app, lambda: len(screen.measured) == 6 and not screen._busy)
        await wait_for_text(app, "rms")
        await pilot.press("s")
        assert shown(screen)[0] == "h.0.mlp.c_fc.weight"
        await pilot.press("s")
        values = [screen.measured[name]["rms"] for name in shown(screen)]
        assert values == sorted(values, reverse=True)
        await pilot.press("slash", *"c_q f32", "enter")
        await wait_until(app, lambda: len(shown(screen)) == 3)
        await pilot.press("escape", "s", "h")
        await wait_for_text(app, "root mean square by layer")
        await pilot.press("h", "down", "enter")
        await wait_until(app, lambda: "h.0.mlp.c_fc.weight" in screen.stats)
        await pilot.press("l")
        await wait_for_text(app, "counts on a log axis")
        await pilot.click("#tensors", offset=(3, 5))
        await wait_until(app, lambda: "lm_head.weight" in screen.stats)
        await pilot.press("escape")
        await wait_until(app, lambda: isinstance(app.screen, CheckpointsScreen))

    drive(script)


def test_files_are_chosen_from_checkpoints_or_by_path():
    write_tensors(Path("mine.safetensors"), weights(5), {"note": "[b]mine\x1b[31m"})

    async def script(app, pilot):
        await app.switch_mode("tensors")
        await pilot.pause()
        screen = app.screen
        await wait_for_text(app, "no file: o opens one")
        await pilot.press("a", "d", "enter", "h", "s", "l")
        await pilot.press("o")
        await wait_until(app, lambda: isinstance(app.screen, Choose))
        await pilot.press(*"tuned", "enter")
        await wait_until(app, lambda: screen.file and "tuned" in str(screen.file.path))
        await pilot.press("d")
        await wait_until(app, lambda: isinstance(app.screen, Choose))
        app.screen.query_one(Input).value = "mine.safetensors"
        await pilot.pause()
        await pilot.press("enter")
        await wait_until(app, lambda: len(screen.measured) == 6 and not screen._busy)
        await wait_for_text(app, "relative change")
        await pilot.press("escape")
        await wait_until(app, lambda: screen.other is None)
        screen.open(Path("mine.safetensors"))
        await wait_for_text(app, "note [b]mine␛[31m")

    drive(script)


def test_what_can_not_be_read_is_told():
    Path("bad.safetensors").write_bytes(b"\x05")
    write_tensors(Path("short.safetensors"), weights(1))
    Path("short.safetensors").write_bytes(Path("short.safetensors").read_bytes()[:-700])
    odd = {"w[b]": np.array([np.nan, np.inf, 1.0], dtype=np.float32), "scalar": np.float32(2.0)}
    write_tensors(Path("odd.safetensors"), {name: np.asarray(array) for name, array in odd.items()})

    async def script(app, pilot):
        screen = await enter(app, pilot, Path("bad.safetensors"))
        await wait_for_text(app, "bad.safetensors: not a safetensors file")
        screen.open(Path("missing.safetensors"))
        await wait_for_text(app, "missing.safetensors")
        screen.open(Path("short.safetensors"))
        await pilot.press("a")
        await wait_until(app, lambda: len(screen.measured) == 6 and not screen._busy)
        await wait_for_text(app, "its values lie behind")
        screen.open(Path("odd.safetensors"))
        await wait_until(app, lambda: "scalar" in screen.stats)
        await pilot.press("down")
        await wait_for_text(app, "NaN 1   infinite 1")
        await wait_for_text(app, "w[b]")
        Path("odd.safetensors").unlink()
        screen.stats.clear()
        await pilot.press("enter")
        await wait_for_text(app, "No such file")
        screen.compare(Path("bad.safetensors"))
        await wait_until(app, lambda: any("No such file" in told.message for told in app._notifications))

    drive(script)


def test_a_crash_of_the_measuring_process_is_told_and_tried_again(monkeypatch, tmp_path):
    worker = tensor_client.COMMAND
    crash = "import sys; sys.stdin.readline(); sys.exit('no memory for [b]this\x1b[31m')"

    async def script(app, pilot):
        monkeypatch.setattr(tensor_client, "COMMAND", (sys.executable, "-c", crash))
        screen = await enter(app, pilot)
        await pilot.press("enter")
        await wait_for_text(app, "no memory for [b]this␛[31m")
        await wait_for_text(app, "has crashed (1)")
        await pilot.press("a")
        await wait_until(app, lambda: any("no memory" in told.message for told in app._notifications))
        monkeypatch.setattr(tensor_client, "COMMAND", worker)
        await pilot.press("enter")
        await wait_for_text(app, "rms")
        await pilot.press("a")
        await wait_until(app, lambda: len(screen.measured) == 6 and not screen._busy)

    drive(script)


def test_another_file_is_measured_where_the_cursor_rests():
    async def script(app, pilot):
        screen = await enter(app, pilot)
        await wait_until(app, lambda: screen.tensor.name in screen.stats)
        before = screen.stats[screen.tensor.name]
        # Its tensors have the same names, so the cursor stays where it is.
        screen.open(Path("runs/base/checkpoints/step-00000100/model.safetensors"))
        await wait_until(app, lambda: screen.tensor.name in screen.stats)
        assert screen.stats[screen.tensor.name]["mean"] != before["mean"]

    drive(script)


def hold(client):
    """Keep what a process tells; return events for that something came and that it may go on."""
    ask, has_come, may_go = client.ask, asyncio.Event(), asyncio.Event()

    async def ask_later(**request):
        async for reply in ask(**request):
            has_come.set()
            await may_go.wait()
            yield {**reply, "of": request["path"]}

    client.ask = ask_later
    return has_come, may_go


def is_at_work(app, group: str) -> bool:
    return any(worker.group == group and worker.is_running for worker in app.workers)


def test_a_comparison_that_is_left_does_not_go_on():
    async def script(app, pilot):
        screen = await enter(app, pilot)
        has_come, may_go = hold(screen._client)
        screen.compare(Path("runs/base/checkpoints/step-00000100/model.safetensors"))
        await has_come.wait()
        await pilot.press("escape")
        assert screen.other is None
        may_go.set()
        await wait_until(app, lambda: not is_at_work(app, "measure"))
        assert not screen.measured
        # What comes after it is measured.
        await pilot.press("a")
        await wait_until(app, lambda: len(screen.measured) == 6 and not screen._busy)

    drive(script)


def test_what_was_measured_of_one_file_is_not_told_of_another():
    other = Path("runs/base/checkpoints/step-00000100/model.safetensors")

    async def script(app, pilot):
        screen = await enter(app, pilot)
        name = screen.tensor.name
        (one_has_come, one_may_go), (all_have_come, all_may_go) = hold(screen._quick), hold(screen._client)
        screen.stats.clear()
        screen.action_stats()
        screen.action_survey()
        await one_has_come.wait()
        await all_have_come.wait()
        screen.open(other)
        one_may_go.set()
        all_may_go.set()
        await wait_until(app, lambda: not is_at_work(app, "stats") and not is_at_work(app, "measure"))
        screen.action_stats()
        await wait_until(app, lambda: name in screen.stats)
        assert screen.stats[name]["of"] == str(other)
        assert not screen.measured

    drive(script)


def test_a_name_that_nobody_has_is_no_home():
    async def script(app, pilot):
        await enter(app, pilot)
        await pilot.press("o")
        await wait_until(app, lambda: isinstance(app.screen, Choose))
        await pilot.press(*"~nobody.at.all")
        await wait_for_text(app, "nothing found")

    drive(script)
