"""The prompt: lines, the history of what was asked, and keys as some terminals send them."""

from textual import events

from tests.workbench.driving import ask, chat, loaded, run, wait
from workbench.screens.dialogs import AskPage
from workbench.widgets.prompt import Prompt


def test_the_prompt_has_lines_and_a_history_that_is_kept(tmp_path):
    async def first(pilot):
        prompt = chat(pilot).query_one(Prompt)
        await pilot.press("a", "ctrl+j", "b")
        assert prompt.text == "a\nb"
        await ask(pilot, "first")
        await ask(pilot, "second\nline")

    async def second(pilot):
        prompt = chat(pilot).query_one(Prompt)
        await pilot.press("x", "up")
        assert prompt.text == "second\nline"
        await pilot.press("up", "up")
        assert prompt.text == "first"
        await pilot.press("down", "down", "down")
        assert prompt.text == "x"

    run(tmp_path, first)
    run(tmp_path, second)


def test_spaces_without_a_character_are_spaces(tmp_path):
    async def script(pilot):
        screen = await loaded(pilot)
        prompt = screen.query_one(Prompt)
        await pilot.press("a")
        pilot.app.post_message(events.Key("space", None))
        await pilot.press("b")
        assert prompt.text == "a b"
        await pilot.press("ctrl+s")
        await wait(pilot, lambda: isinstance(pilot.app.screen, AskPage))
        await pilot.press("a")
        pilot.app.post_message(events.Key("shift+space", None))
        await pilot.press("b", "ctrl+s")
        await wait(pilot, lambda: screen.conversation.system == "a b")

    run(tmp_path, script)
