"""Tokens as coloured text: a piece of HTML without script, in which text is shown and never obeyed."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from picochat.plots.style import PALETTE, transparent
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.tokenizer.visible import visible

WARM, COLD = "#E69F00", "#0072B2"
"""Colours of large and of negative values, told apart by everybody."""
_STRONGEST = 0.6
"""Opacity of the strongest colour: text stays readable, light on a dark page and dark on a light one."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A token, or another stretch of text, as it is to be shown."""

    text: str
    """What stands there; spaces and line ends as signs where they are to be seen (`pieces_of`)."""
    value: float | None = None
    """Sets the strength of the colour, on the scale of `token_html`; negative values have another colour."""
    series: int | None = None
    """Sets one of seven colours instead, for instance by kind of token."""
    hover: str = ""
    """What is shown beside the pointer; may have several lines."""
    breaks: bool = False
    """Whether a new line begins behind it."""
    is_special: bool = False
    """Set apart by a border: a token that no text can spell."""
    is_marked: bool = False
    """Underlined, for instance where two tokenizers differ."""


def pieces_of(tokenizer: Tokenizer, ids: Sequence[int]) -> list[Piece]:
    """Return a piece per token, spaces and line ends visible; hovering shows place, id and bytes."""
    pieces = []
    for place, id in enumerate(ids):
        token = tokenizer.token_bytes(id)
        is_special = tokenizer.is_special(id)
        what = "special token" if is_special else f"bytes {token.hex(' ')}"
        pieces.append(
            Piece(
                text=visible(token) or "∅",
                hover=f"token {place}\nid {id}\n{what}",
                breaks=token.endswith(b"\n"),
                is_special=is_special,
            )
        )
    return pieces


def token_html(
    pieces: Sequence[Piece], *, low: float = 0.0, high: float = 1.0, legend: str = "", title: str = ""
) -> str:
    """Return the pieces as HTML, side by side.

    A value of `low` or less has no colour, one of `high` or more the strongest; negative values are coloured
    by their size in another colour. legend: what the values are; given, the scale is shown.
    """
    assert high > low >= 0
    spans = "".join(_span(piece, low, high) for piece in pieces)
    heading = f'<div style="font-weight:600;margin-bottom:.3rem">{html.escape(title)}</div>' if title else ""
    signed = any(piece.value is not None and piece.value < 0 for piece in pieces)
    scale = _legend(legend, low, high, signed=signed) if legend else ""
    return (
        f'<div class="picochat-tokens">{heading}<div style="font-family:ui-monospace,monospace;'
        f'font-size:14px;line-height:1.9;overflow-wrap:anywhere">{spans}</div>{scale}</div>'
    )


def background(value: float, low: float, high: float) -> str:
    """Return the CSS colour of a value; a value that is no number has none."""
    if math.isnan(value):
        return "transparent"
    share = min(max((abs(value) - low) / (high - low), 0.0), 1.0)
    return transparent(COLD if value < 0 else WARM, _STRONGEST * share)


def _span(piece: Piece, low: float, high: float) -> str:
    style = "padding:.15em .05em;border-radius:.2em;white-space:pre-wrap;"
    if piece.series is not None:
        style += f"background:{transparent(PALETTE[piece.series % len(PALETTE)], 0.35)};"
    elif piece.value is not None:
        style += f"background:{background(piece.value, low, high)};"
    if piece.is_special:
        style += "border:1px solid currentColor;margin:0 .15em;font-size:.85em;"
    if piece.is_marked:
        style += "text-decoration:underline 2px;"
    title = f' title="{html.escape(piece.hover)}"' if piece.hover else ""
    end = "<br>" if piece.breaks else "<wbr>"
    return f'<span style="{style}"{title}>{html.escape(piece.text)}</span>{end}'


def _legend(text: str, low: float, high: float, *, signed: bool) -> str:
    def bar(colors: list[str]) -> str:
        return (
            '<span style="display:inline-block;width:7rem;height:.8em;border-radius:.2em;'
            "vertical-align:middle;margin:0 .4em;"
            f'background:linear-gradient(to right,{",".join(colors)})"></span>'
        )

    strong, none = transparent(WARM, _STRONGEST), transparent(WARM, 0.0)
    if signed:
        scale = f"−{high:g}{bar([transparent(COLD, _STRONGEST), none, strong])}{high:g}"
    else:
        scale = f"{low:g}{bar([none, strong])}{high:g}"
    return f'<div style="font-size:13px;opacity:.8;margin-top:.4rem">{html.escape(text)}: {scale}</div>'
