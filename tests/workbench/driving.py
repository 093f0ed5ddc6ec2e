"""Drives the app by keys, with a process that speaks the protocol but holds no model."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from picochat.engine.protocol import Alternative, TokenInfo
from tests.workbench.fake_app import FAKE
from tests.workbench.screen_text import screen_text, wait_until
from workbench.app import Workbench
from workbench.conversations import Answer
from workbench.screens.chat import ChatScreen
from workbench.widgets.prompt import Prompt

Script = Callable[[Pilot[None]], Awaitable[None]]


def make_app(folder: Path, **options: Any) -> Workbench:
    """Return an app with the fake model; it keeps everything in `folder`."""
    return Workbench(
        **{"load": "tiny", "command": FAKE, **options},
        runs_dir=str(folder / "runs"),
        chats_dir=str(folder / "chats"),
        settings_dir=folder / "settings",
    )


def run(folder: Path, script: Script, size: tuple[int, int] = (120, 40), **options: Any) -> None:
    """Run a script against the app."""

    async def drive() -> None:
        app = make_app(folder, **options)
        async with app.run_test(size=size, notifications=True) as pilot:
            await script(pilot)

    asyncio.run(drive())


async def wait(pilot: Pilot[None], done: Callable[[], object]) -> None:
    """Wait until `done()` holds and everything is drawn."""
    await wait_until(pilot.app, done)
    await pilot.pause()


def shown(pilot: Pilot[None]) -> str:
    """Return the screen as text."""
    return screen_text(pilot.app)


def chat(pilot: Pilot[None]) -> ChatScreen:
    """Return the chat, which is on the screen."""
    screen = pilot.app.screen
    assert isinstance(screen, ChatScreen), screen
    return screen


async def loaded(pilot: Pilot[None]) -> ChatScreen:
    """Wait for the chat with its model."""
    await wait(pilot, lambda: isinstance(pilot.app.screen, ChatScreen) and pilot.app.screen.workbench.loaded)
    return chat(pilot)


async def send(pilot: Pilot[None], text: str) -> ChatScreen:
    """Send a question."""
    screen = await loaded(pilot)
    prompt = screen.query_one(Prompt)
    prompt.focus()
    prompt.text = text
    await pilot.press("enter")
    return screen


async def answered(pilot: Pilot[None], count: int) -> None:
    """Wait until the conversation has so many complete answers."""
    screen = chat(pilot)
    await wait(pilot, lambda: screen.writing is None and len(complete(screen)) == count)


async def ask(pilot: Pilot[None], text: str) -> ChatScreen:
    """Send a question and wait for the end of its answer."""
    screen = await loaded(pilot)
    count = len(complete(screen))
    await send(pilot, text)
    await answered(pilot, count + 1)
    return screen


def complete(screen: ChatScreen) -> list[Answer]:
    """Return all complete answers of the conversation, on its path or not."""
    return [n for n in screen.conversation.nodes.values() if isinstance(n, Answer) and n.reason]


def told(screen: ChatScreen) -> list[str]:
    """Return the texts on the conversation's path."""
    return [node.text for node in screen.conversation.path()]


def token(text: str, kind: str = "text", id: int = 0) -> TokenInfo:
    """Return a token, with two alternatives."""
    label = f"<|{text}|>" if kind == "control" else text
    others = (Alternative(5, " a", -0.25), Alternative(6, "‹e2 82›", -1.5))
    return TokenInfo(
        id, kind, "" if kind == "control" else text, label, -0.7, alternatives=others, entropy=1.25
    )
