"""The chat: asking, stopping, editing, branching, and everything its messages can do."""

from pathlib import Path

import pytest
from textual.widgets import TextArea

from tests.workbench.driving import answered, ask, chat, complete, loaded, run, send, shown, told, wait
from tests.workbench.screen_text import check_golden
from workbench.conversations import Question
from workbench.screens.answering import FRAME_SECONDS, Pace
from workbench.screens.dialogs import AskPage
from workbench.widgets.messages import AnswerText, QuestionText
from workbench.widgets.prompt import Prompt
from workbench.widgets.status import StatusLine

SIZES = pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])


@SIZES
def test_a_chat_looks_as_it_should(tmp_path, size):
    async def script(pilot):
        pilot.app.query_one(Prompt).cursor_blink = False
        await loaded(pilot)
        await check_golden(pilot.app, "chat-empty")
        for text in ("think", "sum", "one two"):
            screen = await ask(pilot, text)
        await wait(pilot, lambda: "75%" in shown(pilot) or size[0] < 100)
        await check_golden(pilot.app, "chat")
        screen.transcript.answers[-1].focus()
        await pilot.press("home", "right")
        await wait(pilot, lambda: "after" in shown(pilot) or size[0] < 100)
        await check_golden(pilot.app, "chat-token")
        await pilot.press("f7", "f7")
        await pilot.pause()
        await check_golden(pilot.app, "chat-raw")

    run(tmp_path, script, size)


def test_thinking_opens_and_closes(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "think")
        assert "▸ thinking (2 tokens)" in shown(pilot)
        assert "deep thought" not in shown(pilot)
        await pilot.press("f8")
        assert "deep thought" in shown(pilot)
        await pilot.press("f8", "alt+up", "t")
        assert "deep thought" in shown(pilot)
        await pilot.press("t")
        y = next(y for y, line in enumerate(shown(pilot).splitlines()) if "▸ thinking" in line)
        await pilot.click(offset=(8, y))
        assert screen.transcript.answers[-1].shows_thinking

    run(tmp_path, script)


def test_thinking_that_never_ends_is_told_and_can_be_looked_at(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "brood")
        assert "▸ thinking (1 token, never ended)" in shown(pilot)
        await pilot.press("alt+up")
        assert screen.transcript.answers[0].cursor == 0
        await pilot.press("t", "right")
        assert screen.transcript.answers[0].cursor == 1
        assert "never ended" not in shown(pilot)

    run(tmp_path, script)


def test_tool_calls_show_argument_and_result(tmp_path):
    async def script(pilot):
        await ask(pilot, "sum")
        assert "It is ⚙ 2+3 → 5 done" in shown(pilot)
        await pilot.press("f7")
        assert "<|tool_call_start|>│2+3│<|tool_call_end|>" in shown(pilot)
        await pilot.press("f7")
        assert "2+3₁₀₂│" in shown(pilot)
        await pilot.press("f7")
        assert "⚙ 2+3" in shown(pilot)

    run(tmp_path, script)


def test_what_models_say_is_shown_and_not_obeyed(tmp_path):
    async def script(pilot):
        await ask(pilot, "escape")
        assert "␛[31m[red] <b>\N{REPLACEMENT CHARACTER}" in shown(pilot)
        await ask(pilot, "[bold]q[/bold] \x1b[2J")
        assert "[bold]q[/bold] ␛[2J" in shown(pilot)
        await pilot.press("alt+up", "home")
        assert "␣echo  token 0" in shown(pilot)

    run(tmp_path, script)


def test_stop_keeps_the_partial_text_and_it_can_be_gone_on_with(tmp_path):
    async def script(pilot):
        screen = await send(pilot, "endless")
        await wait(pilot, lambda: screen.writing and len(screen.writing.answer.tokens) > 3)
        assert "tok/s" in shown(pilot)
        # The prompt works while the answer is written; sending waits.
        await pilot.press("x", "enter")
        assert screen.query_one(Prompt).text == "x"
        await pilot.press("escape")
        await answered(pilot, 1)
        answer = complete(screen)[0]
        assert answer.reason == "cancelled"
        assert answer.text.startswith(" echo endless")
        assert "stopped" in shown(pilot)
        count = len(answer.tokens)
        await pilot.press("ctrl+l")
        await wait(pilot, lambda: screen.writing and len(answer.tokens) > count + 3)
        await pilot.press("escape")
        await answered(pilot, 1)
        kept = screen.store.read(screen.conversation.id).path()[1]
        assert kept.tokens == answer.tokens
        assert kept.reason == "cancelled"

    run(tmp_path, script, (80, 24))


def test_go_on_with_an_answer_that_had_ended(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "one two")
        await pilot.press("alt+up", "m")
        await answered(pilot, 2)
        assert told(screen)[1] == " echo one two echo one two"
        assert "‹2/2›" in shown(pilot)

    run(tmp_path, script)


def test_answers_are_siblings_and_nothing_is_lost(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "one")
        await ask(pilot, "two")
        first = screen.transcript.answers[0]
        first.focus()
        await pilot.press("r")
        await answered(pilot, 3)
        assert told(screen) == ["one", " echo one"]
        screen.transcript.answers[0].focus()
        await pilot.press("less_than_sign")
        assert told(screen) == ["one", " echo one", "two", " echo two"]
        assert isinstance(screen.focused, AnswerText)
        assert screen.focused.node is first.node
        await pilot.press("greater_than_sign")
        assert told(screen) == ["one", " echo one"]
        again = screen.store.read(screen.conversation.id)
        assert [node.text for node in again.path()] == ["one", " echo one"]
        assert len(again.nodes) == 5

    run(tmp_path, script)


def test_edit_a_question_and_an_answer(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "one")
        await ask(pilot, "two")
        screen.query(QuestionText).first().focus()
        await pilot.press("e")
        await wait(pilot, lambda: isinstance(pilot.app.screen, AskPage))
        await pilot.press("!", "ctrl+s")
        await wait(pilot, lambda: pilot.app.screen is screen)
        await answered(pilot, 3)
        assert told(screen) == ["one!", " echo one!"]
        assert "one!  ‹2/2›" in shown(pilot)
        await pilot.press("alt+up", "e")
        await wait(pilot, lambda: isinstance(pilot.app.screen, AskPage))
        area = pilot.app.screen.query_one(TextArea)
        area.text = "<|think_start|>hm<|think_end|>mine"
        await pilot.press("ctrl+s")
        await wait(pilot, lambda: pilot.app.screen is screen and len(complete(screen)) == 4)
        edited = complete(screen)[-1]
        assert [(part.type, part.text) for part in edited.parts] == [("thinking", "hm"), ("text", "mine")]
        assert edited.reason == "edited"
        await wait(pilot, lambda: "edited" in shown(pilot))
        # Broken tags are told and change nothing.
        await pilot.press("e")
        await wait(pilot, lambda: isinstance(pilot.app.screen, AskPage))
        pilot.app.screen.query_one(TextArea).text = "<|think_start|>hm"
        await pilot.press("ctrl+s")
        await wait(pilot, lambda: "needs a <|think_end|>" in shown(pilot))
        assert len(complete(screen)) == 4

    run(tmp_path, script)


def test_edit_the_last_question_from_the_prompt(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "one")
        await pilot.press("ctrl+b")
        await wait(pilot, lambda: isinstance(pilot.app.screen, AskPage))
        await pilot.press("escape")
        await wait(pilot, lambda: pilot.app.screen is screen)
        assert len(screen.conversation.nodes) == 2

    run(tmp_path, script)


def test_judging_answers(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "x")
        await pilot.press("alt+up", "plus")
        assert complete(screen)[0].rating == 1
        assert "▲ good" in shown(pilot)
        await pilot.press("minus")
        assert "▼ bad" in shown(pilot)
        await pilot.press("minus")
        assert "bad" not in shown(pilot)
        assert screen.store.read(screen.conversation.id).path()[1].rating == 0

    run(tmp_path, script)


def test_copying(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "one two")
        copied = Path("chats/copied.txt")
        await pilot.press("alt+c")
        await wait(pilot, copied.exists)
        assert copied.read_text() == " echo one two"
        await wait(pilot, lambda: "copied to terminal" in shown(pilot))
        screen.query(QuestionText).first().focus()
        await pilot.press("c")
        await wait(pilot, lambda: copied.read_text() == "one two")
        # What the mouse selects, by the key that also stops and quits.
        y = next(y for y, line in enumerate(shown(pilot).splitlines()) if "echo one two" in line)
        x = shown(pilot).splitlines()[y].index("echo")
        await pilot.mouse_down(offset=(x, y))
        await pilot.hover(offset=(x + 7, y))
        await pilot.mouse_up(offset=(x + 7, y))
        await pilot.press("ctrl+c")
        await wait(pilot, lambda: copied.read_text() == "echo one")

    run(tmp_path, script)


def test_raw_completion(tmp_path):
    async def script(pilot):
        screen = await loaded(pilot)
        await pilot.press("ctrl+t")
        await wait(pilot, lambda: screen.conversation.is_raw)
        assert "raw completion" in shown(pilot)
        await ask(pilot, "Once upon")
        assert "echo Once upon" in shown(pilot)
        # An edit takes the whole text, and the model goes on.
        await pilot.press("alt+up", "e")
        await wait(pilot, lambda: isinstance(pilot.app.screen, AskPage))
        assert pilot.app.screen.query_one(TextArea).text == "Once upon echo Once upon"
        await pilot.press("!", "ctrl+s")
        await wait(pilot, lambda: pilot.app.screen is screen)
        await answered(pilot, 2)
        assert told(screen)[0] == "Once upon echo Once upon!"

    run(tmp_path, script, (80, 24))


def test_the_system_prompt_belongs_to_the_conversation(tmp_path):
    async def script(pilot):
        screen = await loaded(pilot)
        await pilot.press("ctrl+s")
        await wait(pilot, lambda: isinstance(pilot.app.screen, AskPage))
        await pilot.press(*"Be brief", "ctrl+s")
        await wait(pilot, lambda: screen.conversation.system == "Be brief")
        await ask(pilot, "x")
        assert [message.role for message in screen.conversation.messages()] == ["system", "user", "assistant"]
        assert screen.store.read(screen.conversation.id).system == "Be brief"

    run(tmp_path, script)


def test_facts_of_an_answer_are_on_top(tmp_path):
    async def script(pilot):
        await ask(pilot, "one two three four")
        line = pilot.app.screen.query_one(StatusLine)
        assert line.right.plain == "400 tok/s · first 10 ms · ctx 15/128 · KV 0.2 MB"
        assert line.left.plain.startswith("● tiny 4.5M cpu float32")

    run(tmp_path, script)


def test_a_question_follows_the_path(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "one")
        await ask(pilot, "two")
        two = screen.conversation.path()[2]
        assert isinstance(two, Question)
        assert two.parent == screen.conversation.path()[1].id

    run(tmp_path, script)


def test_what_is_asked_while_the_model_is_loaded_is_answered_then(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_LOAD_GATE", "gate")

    async def script(pilot):
        screen = chat(pilot)
        await pilot.press(*"early", "enter", *"later", "enter")
        assert told(screen) == ["early"]
        assert screen.query_one(Prompt).text == "later"
        assert "loading tiny" in shown(pilot)
        Path("gate").touch()
        await answered(pilot, 1)
        assert told(screen) == ["early", " echo early"]

    run(tmp_path, script)


@pytest.mark.parametrize(
    ("work", "drawn"), [(0.01, [1] * 8), (0.03, [1, 0, 2, 0, 2, 0, 2, 0]), (0.2, [1, 0, 0, 3, 0, 0, 3, 0])]
)
def test_a_slow_machine_draws_fewer_frames_but_some(monkeypatch, work, drawn):
    """`work` is what a frame takes, in seconds of the processor."""

    class Clock:
        now, worked = 100.0, 0.0
        perf_counter = staticmethod(lambda: Clock.now)
        thread_time = staticmethod(lambda: Clock.worked)

    monkeypatch.setattr("workbench.screens.answering.time", Clock)
    pace, seen = Pace(), []
    for _ in drawn:
        seen.append(pace.due())
        Clock.worked += work * bool(seen[-1])
        Clock.now += FRAME_SECONDS
    assert seen == drawn
