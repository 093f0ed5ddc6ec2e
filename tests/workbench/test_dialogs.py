"""Dialogs by themselves: what is typed while an answer is being looked for."""

import asyncio
import threading
from collections.abc import Sequence

import pytest
from textual.app import App
from textual.widgets import OptionList

from tests.workbench.screen_text import wait_until
from workbench.screens.dialogs import Choose

LONG = 60.0
NAMES = ("ant", "bee", "bear")


@pytest.mark.parametrize(
    ("at_once", "later"),
    [(["b", "e", "a", "ctrl+d", "enter"], []), (["b", "enter", "e", "a"], ["enter"])],
    ids=["enter takes what was typed", "what is typed behind it counts for more"],
)
def test_a_list_that_comes_late_is_waited_for(at_once: Sequence[str], later: Sequence[str]):
    """Nothing that happens to be listed still is taken or deleted."""

    async def drive() -> None:
        may_find = threading.Event()

        def find(words: str) -> list[tuple[str, str]]:
            if words:
                assert may_find.wait(LONG)
            return [(name, name) for name in NAMES if words in name]

        app: App[None] = App()
        taken: list[str | None] = []
        deleted: list[str] = []
        async with app.run_test() as pilot:
            dialog = Choose("which?", find, delete=deleted.append)
            await app.push_screen(dialog, taken.append)
            listed = dialog.query_one(OptionList)
            await wait_until(app, lambda: len(listed.options) == len(NAMES))
            await pilot.press(*at_once)
            await pilot.pause()
            assert app.screen is dialog
            may_find.set()
            if later:
                await wait_until(app, lambda: len(listed.options) == 1)
                assert taken == []
                await pilot.press(*later)
            await wait_until(app, lambda: taken)
        assert taken == ["bear"]
        assert deleted == []

    asyncio.run(drive())
