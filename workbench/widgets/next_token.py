"""A small picture of the next token: what the model itself would say, and what the options make of it."""

from rich.style import Style
from rich.text import Text
from textual.widgets import Static

from picochat.engine.protocol import Predicted
from workbench.looks import look
from workbench.widgets.inspector import quote

ROWS = 8
LABEL, BAR = 10, 12


class NextTokenPicture(Static):
    """A row for each of the likeliest tokens: above the model's own probability, below the options'."""

    DEFAULT_CSS = """
    NextTokenPicture { height: auto; margin: 1 0 0 0; text-wrap: nowrap; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)

    def clear(self) -> None:
        """Show nothing."""
        self.update("")

    def show(self, place: str, predicted: Predicted) -> None:
        """Show a distribution; `place` says of which token."""
        before, after, note = (look(self.app, role) for role in ("primary", "accent", "note"))
        text = Text()
        text.append(f"{place}\n", note)
        text.append("▀ model ", before)
        text.append("▄ with the options\n", after)
        for token in predicted.tokens[:ROWS]:
            text.append(f"{quote(token.label):<{LABEL}.{LABEL}} ")
            text.append_text(double_bar(token.before, token.after, before, after))
            text.append(f" {token.before:4.0%}")
            text.append(
                f" {token.after:4.0%}\n" if token.after else "    ·\n", after if token.after else note
            )
        self.update(text)


def double_bar(upper: float, lower: float, upper_style: Style, lower_style: Style) -> Text:
    """Return two bars in one row of `BAR` cells, each half a cell high."""
    above, below = (max(round(share * BAR), 1 if share > 0.005 else 0) for share in (upper, lower))
    both = min(above, below)
    text = Text()
    text.append("▀" * both, Style(color=upper_style.color, bgcolor=lower_style.color))
    if above > both:
        text.append("▀" * (above - both), Style(color=upper_style.color))
    else:
        text.append("▄" * (below - both), Style(color=lower_style.color))
    text.append(" " * (BAR - max(above, below)))
    return text
