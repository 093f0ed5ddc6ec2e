"""The screen of an app as plain text, and goldens: such texts in files, reviewed as diffs.

`UPDATE_GOLDENS=1 python -m pytest tests/workbench` writes the files anew. Nothing on a screen may come from
the wall clock then: replace `workbench.clock.now`.
"""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.app import App

GOLDENS = Path(__file__).parent / "goldens"
PATIENCE = 60.0
"""Seconds that a test waits for something at most; machines may be busy."""
GOLDEN_PATIENCE = 15.0
"""Seconds within which a screen has to settle."""


def screen_text(app: App[Any]) -> str:
    """Return what the screen shows, a line a row, without colours and trailing blanks."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


async def check_golden(app: App[Any], name: str) -> None:
    """Wait until the screen is goldens/NAME-WIDTHxHEIGHT.txt; fail if it does not become so."""
    size = app.screen.size
    path = GOLDENS / f"{name}-{size.width}x{size.height}.txt"
    if os.environ.get("UPDATE_GOLDENS"):
        await asyncio.sleep(1.0)  # what is still on its way to the screen
        path.parent.mkdir(exist_ok=True)
        path.write_text(_golden_text(app), encoding="utf-8")
    assert path.exists(), f"{path.name}: no such golden; UPDATE_GOLDENS=1 writes it"
    golden = path.read_text(encoding="utf-8")
    limit = time.monotonic() + GOLDEN_PATIENCE
    while (shown := _golden_text(app)) != golden:
        assert time.monotonic() < limit, f"the screen differs from {path.name}:\n{shown}"
        await asyncio.sleep(0.05)


def _golden_text(app: App[Any]) -> str:
    return screen_text(app).rstrip() + "\n"


async def wait_until(app: App[Any], done: Callable[[], object]) -> None:
    """Let the app go on until `done()` holds; fail with the screen's text if it takes too long."""
    limit = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < limit, screen_text(app)
        await asyncio.sleep(0.01)


async def wait_for_text(app: App[Any], text: str) -> None:
    """Let the app go on until its screen holds the text: what is true of the app is drawn a moment later."""
    await wait_until(app, lambda: text in screen_text(app))
