"""What is asked for while the chat still waits for something else."""

import asyncio
import threading

from textual.widgets import TextArea

from picochat.engine.protocol import Score
from tests.workbench.driving import answered, ask, complete, loaded, run, send, shown, told, wait
from workbench.screens.dialogs import AskPage, Choose, Confirm

LEFT_OUT = "left out: another conversation was opened"
BUSY = "an answer is being written"


def hold_scores(pilot) -> asyncio.Event:
    """Keep what the model scores until the event is set."""
    client, may_go = pilot.app.client, asyncio.Event()
    ask_model = client.ask

    async def ask_later(request):
        reply = await ask_model(request)
        if isinstance(request, Score):
            await may_go.wait()
        return reply

    client.ask = ask_later
    return may_go


async def force(pilot) -> None:
    """Put another token in the place of an answer's second one."""
    await pilot.press("alt+up", "home", "right", "2")
    await wait(pilot, lambda: any(worker.group == "force" for worker in pilot.app.workers))


def test_of_two_wishes_at_once_one_is_granted(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "one")
        answer = screen.conversation.path()[-1]
        await asyncio.gather(screen.regenerate(answer), screen.regenerate(answer))
        await answered(pilot, 2)
        assert len(screen.conversation.nodes) == 3
        assert BUSY in shown(pilot)

    run(tmp_path, script)


def test_a_forced_token_that_comes_too_late_is_left_out(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "a b c")
        before, may_go = screen.conversation, hold_scores(pilot)
        await force(pilot)
        await pilot.press("ctrl+n")
        await wait(pilot, lambda: screen.conversation is not before)
        may_go.set()
        await wait(pilot, lambda: LEFT_OUT in shown(pilot))
        assert not screen.conversation.nodes
        assert len(before.nodes) == 2

    run(tmp_path, script)


def test_a_forced_token_does_not_interrupt_another_answer(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "a b c")
        may_go = hold_scores(pilot)
        await force(pilot)
        await send(pilot, "endless")
        await wait(pilot, lambda: screen.writing is not None)
        may_go.set()
        await wait(pilot, lambda: BUSY in shown(pilot))
        await pilot.press("escape")
        await answered(pilot, 2)
        assert told(screen)[:3] == ["a b c", " echo a b c", "endless"]

    run(tmp_path, script)


def test_a_conversation_stays_while_an_edited_answer_is_measured(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "one")
        before, may_go = screen.conversation, hold_scores(pilot)
        await pilot.press("alt+up", "e")
        await wait(pilot, lambda: isinstance(pilot.app.screen, AskPage))
        pilot.app.screen.query_one(TextArea).text = "mine"
        await pilot.press("ctrl+s")
        await wait(pilot, lambda: pilot.app.screen is screen)
        await pilot.press("ctrl+n")
        await wait(pilot, lambda: BUSY in shown(pilot))
        may_go.set()
        await wait(pilot, lambda: len(complete(screen)) == 2)
        assert screen.conversation is before
        assert told(screen) == ["one", "mine"]

    run(tmp_path, script)


def test_a_conversation_that_is_read_does_not_interrupt_an_answer(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "old")
        await pilot.press("ctrl+n")
        await wait(pilot, lambda: not screen.conversation.nodes)
        new, read, may_go = screen.conversation, screen.store.read, threading.Event()

        def read_later(id):
            may_go.wait()
            return read(id)

        screen.store.read = read_later
        await pilot.press("ctrl+o")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Choose) and "old" in shown(pilot))
        await pilot.press("enter")
        await wait(pilot, lambda: pilot.app.screen is screen)
        await send(pilot, "endless")
        await wait(pilot, lambda: screen.writing is not None)
        may_go.set()
        await wait(pilot, lambda: BUSY in shown(pilot))
        await pilot.press("escape")
        await answered(pilot, 1)
        assert screen.conversation is new
        assert told(screen)[0] == "endless"

    run(tmp_path, script)


def test_a_conversation_is_not_deleted_while_an_answer_comes(tmp_path):
    async def script(pilot):
        screen = await send(pilot, "endless")
        await wait(pilot, lambda: len(screen.transcript.answers[-1].tokens) > 2)
        await pilot.press("escape")
        await answered(pilot, 1)
        before, may_go = screen.conversation, hold_scores(pilot)
        await force(pilot)
        await pilot.press("f12")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        # The answer with the forced token begins behind the question.
        may_go.set()
        await wait(pilot, lambda: screen.writing is not None)
        await pilot.press("y")
        await wait(pilot, lambda: pilot.app.screen is screen and BUSY in shown(pilot))
        await pilot.press("escape")
        await answered(pilot, 2)
        assert screen.conversation is before
        assert screen.store.path(before.id).exists()

    run(tmp_path, script)


def test_a_system_prompt_belongs_to_the_conversation_it_was_asked_for(tmp_path):
    async def script(pilot):
        screen = await loaded(pilot)
        await pilot.press("ctrl+s")
        await wait(pilot, lambda: isinstance(pilot.app.screen, AskPage))
        # A model that has read no conversations is loaded meanwhile.
        await screen.told_loaded(pilot.app.loaded, is_base=True)
        await pilot.press(*"Be brief", "ctrl+s")
        await wait(pilot, lambda: pilot.app.screen is screen)
        await wait(pilot, lambda: LEFT_OUT in shown(pilot))
        assert screen.conversation.is_raw
        assert not screen.conversation.system

    run(tmp_path, script)
