"""Two checkpoints side by side, with processes that speak the protocol but hold no model."""

from pathlib import Path

import pytest
from textual.widgets import Input, Static

from picochat.engine.protocol import TokenInfo
from tests.workbench.make_runs import drive, write_world
from tests.workbench.screen_text import check_golden, screen_text, wait_for_text, wait_until
from workbench.screens.compare import CompareScreen
from workbench.screens.dialogs import Choose
from workbench.widgets.side_text import SideText, find_parting, mark

SIZES = [(80, 24), (120, 40)]


@pytest.fixture(autouse=True)
def runs(still):
    write_world(Path("runs"))


async def enter(app, pilot, first="base@200", second="tuned@200") -> CompareScreen:
    await app.switch_mode("compare")
    await pilot.pause()
    screen = app.screen
    screen.open(first, second)
    await wait_until(app, lambda: all(side.loaded or side.is_bad for side in screen.sides))
    await pilot.pause()
    return screen


async def ask(app, pilot, screen, text: str) -> None:
    screen.query_one("#prompt", Input).value = text
    screen.query_one("#prompt", Input).focus()
    screen.query_one("#option-seed", Input).value = "7"
    await pilot.press("enter")
    await wait_until(app, lambda: all(side.finished for side in screen.sides))
    await wait_until(app, lambda: "7 · stop" in str(screen.query_one("#head1", Static).content))
    await pilot.pause()


@pytest.mark.parametrize("size", SIZES)
def test_where_answers_part_is_marked(size):
    async def script(app, pilot):
        screen = await enter(app, pilot)
        await ask(app, pilot, screen, "hello")
        first, second = screen.query(SideText)
        assert (first.parting, second.parting) == (2, 2)
        assert first.marks == second.marks == [False, False, True, False, True, False]
        shown = screen_text(app)
        assert "it is [b] and ␛[31m 7" in shown
        assert "it is two and three 7" in shown
        assert "where they part: 2" in shown
        await check_golden(app, "compare")

    drive(script, size)


def test_tokens_are_walked_with_keys_and_mouse():
    async def script(app, pilot):
        screen = await enter(app, pilot)
        await ask(app, pilot, screen, "hello")
        first, second = screen.query(SideText)
        first.focus()
        await pilot.press("right", "right")
        assert (first.cursor, second.cursor) == (1, 1)
        await wait_for_text(app, "token: 1")
        await pilot.press("end")
        assert second.cursor == 5
        await pilot.click(second, offset=(8, 0))
        assert first.cursor == 2
        await pilot.press("f6")
        assert first.is_coloured
        await pilot.press("f6", "home", "f7")
        assert first.cursor == 2
        await pilot.press("f8")
        assert [side.name for side in screen.sides] == ["tuned@200", "base@200"]
        assert "two" in first.tokens[2].text

    drive(script)


def test_equal_checkpoints_give_equal_answers():
    async def script(app, pilot):
        screen = await enter(app, pilot, "tuned@200", "demo@50")
        await pilot.press("ctrl+t")
        assert screen.is_raw
        await ask(app, pilot, screen, "Once")
        await wait_for_text(app, "the answers are the same")

    drive(script)


def test_a_stop_ends_both_sides():
    async def script(app, pilot):
        screen = await enter(app, pilot)
        screen.query_one("#prompt", Input).value = "endless"
        screen.query_one("#prompt", Input).focus()
        await pilot.press("enter")
        await wait_until(app, lambda: all(len(text.tokens) > 20 for text in screen.query(SideText)))
        await pilot.press("escape")
        await wait_until(app, lambda: all(side.finished for side in screen.sides))
        assert {side.finished.reason for side in screen.sides} == {"cancelled"}
        seeds = {side.finished.seed for side in screen.sides}
        assert len(seeds) == 1
        await pilot.press("escape")
        await wait_until(app, lambda: not isinstance(app.screen, CompareScreen))

    drive(script)


def test_mistakes_and_crashes_are_told():
    async def script(app, pilot):
        screen = await enter(app, pilot, "base@200", "missing")
        await wait_for_text(app, "missing: [b]is not there")
        screen.query_one("#option-temperature", Input).value = "warm"
        screen.query_one("#prompt", Input).value = "x"
        screen.query_one("#prompt", Input).focus()
        await pilot.press("enter")
        await wait_for_text(app, "temperature has to be a number")
        screen.query_one("#option-temperature", Input).value = "-1"
        await pilot.press("enter")
        await wait_for_text(app, "temperature must be a number")
        assert all(side.running is None and not side.finished for side in screen.sides)
        screen.query_one("#option-temperature", Input).value = "0"
        screen.query_one("#prompt", Input).value = "crash"
        await pilot.press("enter")
        await wait_for_text(app, "ended with code 3")
        await pilot.press("f9")
        await wait_until(app, lambda: isinstance(app.screen, Choose))
        await pilot.press(*"rust", "enter")
        await wait_until(app, lambda: screen.sides[0].loaded and screen.sides[0].name == "runs/rust")

    drive(script)


def test_checkpoints_are_chosen_with_keys_and_mouse():
    async def script(app, pilot):
        await app.switch_mode("compare")
        await pilot.pause()
        screen = app.screen
        screen.query_one("#prompt", Input).value = "x"
        await pilot.press("enter")
        await wait_for_text(app, "no checkpoint is loaded yet")
        screen.query_one("#head0").focus()
        await pilot.press("enter")
        await wait_until(app, lambda: isinstance(app.screen, Choose))
        await pilot.press(*"base@100", "enter")
        await wait_until(app, lambda: screen.sides[0].loaded)
        await pilot.click("#head1")
        await wait_until(app, lambda: isinstance(app.screen, Choose))
        await pilot.press(*"demo", "enter")
        await wait_until(app, lambda: screen.sides[1].loaded)
        assert [side.name for side in screen.sides] == ["base@100", "demo@50"]
        await pilot.click("#mode")
        assert screen.is_raw

    drive(script)


def tokens(*ids: int) -> list[TokenInfo]:
    return [TokenInfo(id=id, kind="text", text=str(id), label=str(id), logprob=0.0) for id in ids]


def test_marks_are_what_an_alignment_leaves_over():
    first, second = tokens(1, 2, 3, 4, 5), tokens(1, 2, 9, 3, 4)
    assert find_parting(first, second, is_over=False) == 2
    assert mark(first, second, is_over=True) == (
        [False, False, False, False, True],
        [False, False, True, False, False],
    )
    assert mark(first, second, is_over=False)[0] == [False, False, True, True, True]
    assert find_parting(first, first[:3], is_over=False) is None
    assert find_parting(first, first[:3], is_over=True) == 3
    assert mark([], second, is_over=True) == ([], [True] * 5)
