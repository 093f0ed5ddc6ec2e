"""What a chat tells when the model fails, crashes, can not start or is not there."""

import pytest

from tests.workbench.driving import ask, chat, complete, run, send, shown, told, wait
from workbench.screens.dialogs import Confirm
from workbench.widgets.prompt import Prompt


def test_failures_are_told_and_the_chat_goes_on(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "fail")
        assert "the fake will not" in shown(pilot)
        assert complete(screen)[0].reason == "interrupted"
        await ask(pilot, "one")
        assert told(screen)[-1] == " echo one"

    run(tmp_path, script)


@pytest.mark.parametrize(
    ("question", "words"), [("crash", "the fake fell over"), ("garbage", "not in the protocol")]
)
def test_a_crash_shows_its_last_lines_and_the_process_starts_again(tmp_path, question, words):
    async def script(pilot):
        screen = await send(pilot, question)
        await wait(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        assert words in shown(pilot)
        await pilot.press("y")
        await wait(pilot, lambda: pilot.app.screen is screen)
        await ask(pilot, "again")
        assert "echo again" in shown(pilot)

    run(tmp_path, script)


def test_a_process_that_can_not_start_is_told(tmp_path):
    async def script(pilot):
        await wait(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        assert "No such file" in shown(pilot)
        await pilot.press("n")
        await wait(pilot, lambda: chat(pilot))
        await pilot.press("x", "enter")
        assert "process has ended" in shown(pilot)

    run(tmp_path, script, command=("/nowhere/python",))


def test_without_a_model_the_chat_says_where_to_find_one(tmp_path):
    async def script(pilot):
        await pilot.press("x", "enter")
        await wait(pilot, lambda: "F3 lists the checkpoints" in shown(pilot))
        assert chat(pilot).query_one(Prompt).text == "x"

    run(tmp_path, script, load=None)


def test_a_missing_checkpoint_is_one_line(tmp_path):
    async def script(pilot):
        await wait(pilot, lambda: "no checkpoint missing" in shown(pilot))

    run(tmp_path, script, load="missing")
