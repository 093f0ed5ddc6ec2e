"""The app's own looks. Those that come with Textual can be chosen too."""

from textual.theme import Theme

DARK = Theme(
    name="dark",
    primary="#5b8def",
    secondary="#b08cf0",
    accent="#f0a45d",
    warning="#e8b65a",
    error="#f2777a",
    success="#6cc499",
    foreground="#d8dee9",
    background="#12161f",
    surface="#181d28",
    panel="#222936",
    dark=True,
)
LIGHT = Theme(
    name="light",
    primary="#2457b8",
    secondary="#6d3fc0",
    accent="#b3530c",
    warning="#8f5f00",
    error="#b3262b",
    success="#1c7a4a",
    foreground="#1d2430",
    background="#fbfaf7",
    surface="#f2f0ea",
    panel="#e4e1d8",
    dark=False,
)
CONTRAST = Theme(
    name="contrast",
    primary="#56b4e9",
    secondary="#cc79a7",
    accent="#e69f00",
    warning="#f0e442",
    error="#ff8c42",
    success="#56b4e9",
    foreground="#ffffff",
    background="#000000",
    surface="#0c0c0c",
    panel="#262626",
    dark=True,
)
"""Colours of Okabe and Ito, which every kind of eye tells apart, on black."""
THEMES = (DARK, LIGHT, CONTRAST)
ANSI = {"ansi": "ansi-dark"}
"""Our name for the terminal's own colours, and Textual's."""
