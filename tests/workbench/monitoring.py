"""The screen that watches runs, opened for a test."""

from tests.workbench.screen_text import wait_until
from workbench.screens.monitor import MonitorScreen
from workbench.widgets.table import StillTable

SIZES = [(80, 24), (120, 40)]


async def enter(app, pilot) -> MonitorScreen:
    await pilot.press("f4")
    await wait_until(app, lambda: isinstance(app.screen, MonitorScreen))
    await pilot.pause()
    return app.screen


async def at(app, pilot, screen, name: str) -> None:
    """Put the cursor of the list at a run."""
    table = screen.query_one(StillTable)
    await wait_until(app, lambda: name in [key for key, _ in table._shown])
    table.move_cursor(row=[key for key, _ in table._shown].index(name))
    await pilot.pause()
