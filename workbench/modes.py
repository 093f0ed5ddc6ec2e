"""The screens of the app, each imported when it is shown first: the chat is there at once."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the splash is drawn before Textual is imported
    from textual.screen import Screen

SCREENS = (("F2", "chat"), ("F3", "checkpoints"), ("F4", "monitor"), ("", "compare"), ("", "tensors"))
"""Key, where it has one in the strip, and name of each screen's mode."""
CLASSES = {
    "chat": "ChatScreen",
    "checkpoints": "CheckpointsScreen",
    "monitor": "MonitorScreen",
    "compare": "CompareScreen",
    "tensors": "TensorsScreen",
}
"""Name of a mode, which is its module in `workbench.screens`, and the class of its screen."""


def screen_class(mode: str) -> "type[Screen[Any]]":
    """Import the class of a mode's screen."""
    return getattr(import_module(f"workbench.screens.{mode}"), CLASSES[mode])


def _maker(mode: str) -> "Callable[[], Screen[Any]]":
    return lambda: screen_class(mode)()


MODES: "dict[str, str | Callable[[], Screen[Any]]]" = {mode: _maker(mode) for mode in CLASSES}
"""For `App.MODES`."""
