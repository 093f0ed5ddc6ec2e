"""The app driven by keys, with a process that speaks the protocol but holds no model."""

import asyncio
import json
import math
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import OptionList

from picochat.engine.protocol import TokenInfo
from picochat.tokenizer.messages import parse_messages
from workbench.app import Workbench
from workbench.conversations import Answer, Conversation, Turn
from workbench.screens.chat import ChatScreen
from workbench.screens.dialogs import Confirm, Help
from workbench.widgets.inspector import Inspector
from workbench.widgets.prompt import Prompt
from workbench.widgets.sampling import SamplingPanel
from workbench.widgets.token_text import TokenText

FAKE = (sys.executable, str(Path(__file__).parent / "fake_worker.py"))
PATIENCE = 60.0


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.chdir(tmp_path)


def make_app(tmp_path: Path) -> Workbench:
    return Workbench(load="tiny", runs_dir=str(tmp_path / "runs"), chats_dir="chats", command=FAKE)


async def wait(pilot: Pilot[None], done: Callable[[], object]) -> None:
    limit = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < limit, screen_text(pilot)
        await asyncio.sleep(0.01)
    await pilot.pause()


def screen_text(pilot: Pilot[None]) -> str:
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


def chat_screen(pilot: Pilot[None]) -> ChatScreen:
    screen = pilot.app.screen
    assert isinstance(screen, ChatScreen)
    return screen


async def ask(pilot: Pilot[None], text: str) -> None:
    """Type a question and wait for the end of its answer."""
    await wait(pilot, lambda: isinstance(pilot.app.screen, ChatScreen))
    screen = chat_screen(pilot)
    await wait(pilot, lambda: screen.workbench.loaded)
    screen.query_one(Prompt).focus()
    screen.query_one(Prompt).text = text
    await pilot.press("enter")
    await wait(pilot, lambda: screen.conversation.turns)
    await wait(pilot, lambda: screen.conversation.turns[-1].answers and screen.running is None)


def run(tmp_path: Path, script: Callable, size: tuple[int, int] = (120, 40)) -> None:
    async def drive() -> None:
        app = make_app(tmp_path)
        async with app.run_test(size=size, notifications=True) as pilot:
            await script(pilot)

    asyncio.run(drive())


def test_a_chat(tmp_path):
    async def script(pilot):
        screen = chat_screen(pilot)
        await ask(pilot, "one two")
        assert "echo one two" in screen_text(pilot)
        assert "tok/s" in screen_text(pilot)
        await ask(pilot, "think")
        assert "▸ thinking" in screen_text(pilot)
        assert "deep" not in screen_text(pilot)
        await pilot.press("f8")
        assert "deep" in screen_text(pilot)
        await ask(pilot, "sum")
        assert "⚙ 2+3 → 5" in screen_text(pilot)
        await pilot.press("f7")
        assert "<|tool_call_start|>" in screen_text(pilot)
        await pilot.press("f7", "ctrl+g")
        assert screen.query_one(Prompt).text == "sum"
        assert len(screen.conversation.turns) == 2
        await pilot.press("ctrl+r")
        await wait(pilot, lambda: len(screen.conversation.turns[1].answers) == 2 and screen.running is None)
        assert screen.conversation.turns[1].chosen == 1

    run(tmp_path, script)


def test_control_characters_and_markup_are_shown(tmp_path):
    async def script(pilot):
        await ask(pilot, "escape")
        assert "␛[31m[red]" in screen_text(pilot)

    run(tmp_path, script)


def test_stop_keeps_the_partial_text(tmp_path):
    async def script(pilot):
        screen = chat_screen(pilot)
        await wait(pilot, lambda: screen.workbench.loaded)
        screen.query_one(Prompt).text = "endless"
        await pilot.press("enter")
        await wait(pilot, lambda: screen.answers and len(screen.answers[-1].tokens) > 3)
        await pilot.press("escape")
        await wait(pilot, lambda: screen.running is None)
        answer = screen.conversation.turns[0].answers[0]
        assert answer.reason == "cancelled"
        assert "echo endless" in answer.parts[0].text

    run(tmp_path, script, size=(80, 24))


def test_tokens_are_inspected_and_replaced(tmp_path):
    async def script(pilot):
        screen = chat_screen(pilot)
        await ask(pilot, "a b c")
        screen.answers[0].focus()
        await pilot.press("home", "right", "f6")
        assert screen.answers[0].cursor == 1
        assert screen.query_one(Inspector).display
        shown = screen_text(pilot)
        assert "' yes'" in shown
        assert f"p {math.exp(-0.7):.3f}" in shown
        await pilot.press("2")
        await wait(pilot, lambda: len(screen.conversation.turns[0].answers) == 2 and screen.running is None)
        told = screen.conversation.turns[0].answers[1].parts[0].text
        assert told.startswith(" echo no echo")
        await pilot.press("less_than_sign")
        assert screen.conversation.turns[0].chosen == 0
        assert [token.text for token in screen.answers[0].tokens] == [" echo", " a", " b", " c"]

    run(tmp_path, script)


def test_sampling_options_reach_the_model_and_are_remembered(tmp_path):
    async def script(pilot):
        screen = chat_screen(pilot)
        await wait(pilot, lambda: screen.workbench.loaded)
        await pilot.press("f5", "right", "down", "7", "enter", "down")
        options = screen.query_one(SamplingPanel).options
        assert (options.temperature, options.top_k) == (0.85, 7)
        await pilot.press("9", "enter")
        assert screen.query_one(SamplingPanel).options.top_p == 1.0
        await pilot.press("backspace")
        await ask(pilot, "x")
        answer = screen.conversation.turns[0].answers[0]
        assert (answer.options["temperature"], answer.options["top_k"], answer.model) == (0.85, 7, "tiny")

    run(tmp_path, script, size=(80, 24))


def test_conversations_are_kept_found_and_exported(tmp_path):
    async def script(pilot):
        screen = chat_screen(pilot)
        await ask(pilot, "about whales")
        first = screen.conversation
        await pilot.press("ctrl+n")
        await ask(pilot, "about ants")
        await pilot.press("ctrl+o")
        await wait(pilot, lambda: pilot.app.screen.query(OptionList))
        await pilot.press(*"whale")
        await pilot.pause()
        assert pilot.app.screen.query_one(OptionList).option_count == 1
        await pilot.press("enter")
        await wait(pilot, lambda: pilot.app.screen is screen and screen.conversation.id == first.id)
        assert screen.conversation == first
        await pilot.press("f9")
        await pilot.pause()
        await pilot.press("ctrl+u", *"chat.jsonl", "enter")
        await wait(pilot, Path("chat.jsonl").exists)
        await pilot.press("f10")
        await pilot.pause()
        await pilot.press("ctrl+u", *"Big", "enter")
        await wait(pilot, lambda: screen.conversation.title == "Big")
        kept = Path("chats", f"{first.id}.json")
        assert json.loads(kept.read_text(encoding="utf-8"))["title"] == "Big"
        await pilot.press("f12")
        await pilot.pause()
        await pilot.press("y")
        await wait(pilot, lambda: not kept.exists())

    run(tmp_path, script)
    row = json.loads((tmp_path / "chat.jsonl").read_text(encoding="utf-8"))
    assert [message["content"] for message in row["messages"]] == ["about whales", " echo about whales"]


def test_a_crash_shows_its_last_lines_and_the_process_starts_again(tmp_path):
    async def script(pilot):
        screen = chat_screen(pilot)
        await wait(pilot, lambda: screen.workbench.loaded)
        screen.query_one(Prompt).text = "crash"
        await pilot.press("enter")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        assert "the fake fell over" in screen_text(pilot)
        await pilot.press("y")
        await ask(pilot, "again")
        assert "echo again" in screen_text(pilot)

    run(tmp_path, script)


def test_raw_completion_and_help(tmp_path):
    async def script(pilot):
        screen = chat_screen(pilot)
        await pilot.press("ctrl+t")
        await wait(pilot, lambda: screen.conversation.is_raw)
        await ask(pilot, "Once upon")
        assert "echo Once upon" in screen_text(pilot)
        assert "raw completion" in screen_text(pilot)
        await pilot.press("f1")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Help))
        assert "Regenerate" in screen_text(pilot)
        await pilot.press("escape")
        await pilot.pause()
        assert pilot.app.screen is screen

    run(tmp_path, script, size=(80, 24))


def test_the_prompt_has_lines_and_a_history(tmp_path):
    async def script(pilot):
        prompt = chat_screen(pilot).query_one(Prompt)
        await pilot.press("a", "ctrl+j", "b")
        assert prompt.text == "a\nb"
        prompt.remember("first")
        prompt.remember("second")
        await pilot.press("x", "up", "up")
        assert prompt.text == "first"
        await pilot.press("down", "down")
        assert prompt.text == "x"

    run(tmp_path, script)


def test_what_is_exported_is_a_conversation_with_all_parts(tmp_path):
    said = [
        TokenInfo(0, "control", "", "<|think_start|>", 0.0),
        TokenInfo(1, "thinking", "hm", "hm", 0.0),
        TokenInfo(2, "control", "", "<|think_end|>", 0.0),
        TokenInfo(3, "text", "h", "h", 0.0),
        TokenInfo(4, "text", "i", "i", 0.0),
    ]
    turn = Turn(question="q", answers=[Answer(tokens=said)])
    Conversation(system="s", turns=[turn]).export(tmp_path / "a.jsonl")
    row = json.loads((tmp_path / "a.jsonl").read_text(encoding="utf-8"))
    system, question, answer = parse_messages(row["messages"], where="a.jsonl")
    assert (system.text, question.text) == ("s", "q")
    assert [(part.type, part.text) for part in answer.parts] == [("thinking", "hm"), ("text", "hi")]


def test_wrapping_piece_by_piece_equals_wrapping_at_once():
    draw = random.Random(1)
    for width in (1, 2, 7, 20):
        words = [
            draw.choice([" the", "cat", "\n", "  ", "日本", "averyveryverylongword", " a"]) for _ in range(60)
        ]
        tokens = [TokenInfo(i, "text", word, word, 0.0) for i, word in enumerate(words)]
        whole = TokenText()
        whole._width = width
        whole.tokens = list(tokens)
        for index in range(len(tokens)):
            whole._add(index)
        told = "".join(piece.text for line in whole._lines for piece in line)
        assert told == "".join(words).replace("\n", " ")
        for line in whole._lines:
            text = "".join(piece.text for piece in line).rstrip()
            assert len(text) <= width or width == 1
