"""Styles of parts of a line, taken from the theme.

Not component classes of CSS: those are worked out anew for every widget each time that the terminal gains or
loses the focus, which a long chat would feel.
"""

from functools import lru_cache
from typing import Any

from rich.style import Style
from textual.app import App
from textual.color import Color

ROLES: dict[str, tuple[str, Style]] = {
    "text": ("", Style()),
    "note": ("muted", Style()),
    "thinking": ("muted", Style(italic=True)),
    "tool_call": ("warning", Style(bold=True)),
    "tool_result": ("success", Style(bold=True)),
    "control": ("secondary", Style()),
    "primary": ("primary", Style()),
    "accent": ("accent", Style()),
    "changed": ("accent", Style(bold=True)),
}
"""A name to the theme's colour and what is added to it."""
MUTED = 0.6


def look(app: App[Any], role: str) -> Style:
    """Return the style of a role in the app's theme."""
    colour, added = ROLES[role]
    if not colour:
        return added
    variables = app.theme_variables
    if colour != "muted":
        return _style(variables[colour], added)
    if app.current_theme.ansi:
        return added + Style(dim=True)
    return _muted(variables["foreground"], variables["background"], added)


@lru_cache(maxsize=128)
def _style(colour: str, added: Style) -> Style:
    return Style(color=Color.parse(colour).rich_color) + added


@lru_cache(maxsize=32)
def _muted(foreground: str, background: str, added: Style) -> Style:
    mixed = Color.parse(background).blend(Color.parse(foreground), MUTED)
    return Style(color=mixed.rich_color) + added
