"""Answers as HTML: their parts marked, judged in groups, those of two models side by side.

Everything that a model or a data set says is escaped. Colours lie over the page's own, so that the same HTML
can be read on a light and on a dark page.
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from picochat.plots import style
from picochat.plots.tokens import COLD, WARM

Parts = str | Sequence[Mapping[str, str]]
"""An answer in the form of chat data: a text, or parts with `type` and `text`."""

FRAME = "border:1px solid rgba(136,136,136,.35);border-radius:6px;padding:.6em .8em;"
PLAIN = "white-space:pre-wrap;overflow-wrap:anywhere;"


def legend_html(entries: Mapping[str, tuple[str | None, float]]) -> str:
    """Return a line that tells what colours mean: text -> colour and strength."""
    items = []
    for text, (color, strength) in entries.items():
        back = "transparent" if color is None else style.transparent(color, 0.55 * strength)
        box = (
            "display:inline-block;width:1em;height:1em;vertical-align:-.15em;margin-right:.35em;"
            f"border:1px solid rgba(136,136,136,.5);border-radius:3px;background:{back}"
        )
        items.append(
            f'<span style="margin-right:1.2em"><span style="{box}"></span>{html.escape(text)}</span>'
        )
    return f'<div style="font-size:.85em;opacity:.85">{"".join(items)}</div>'


def parts_html(parts: Parts) -> str:
    """Return an answer with its thoughts, calls and results marked."""
    if isinstance(parts, str):
        parts = [{"type": "text", "text": parts}]
    shown = "".join(_part(part["type"], part["text"]) for part in parts).strip()
    return f'<div style="{PLAIN}">{shown or "<i>(nothing)</i>"}</div>'


def _part(kind: str, text: str) -> str:
    text = html.escape(text)
    code = "font-family:ui-monospace,monospace;font-size:.9em;border-radius:4px;padding:.05em .35em;"
    if kind == "thinking":
        edge = "border-left:3px solid rgba(136,136,136,.6);padding-left:.5em;margin:.1em 0;font-style:italic"
        return f'<span style="display:inline;{edge};opacity:.8" title="thinking">{text}</span>'
    if kind == "tool_call":
        back = style.transparent(style.PALETTE[1], 0.35)
        return f'<span style="{code}background:{back}" title="calls the calculator">{text}</span>'
    if kind == "tool_result":
        back = style.transparent(style.PALETTE[2], 0.35)
        return f'<span style="{code}background:{back}" title="what the calculator said">= {text}</span>'
    return text


PARTS_LEGEND = legend_html(
    {
        "slanted: a thought": (style.NEUTRAL, 0.0),
        "calls the calculator": (style.PALETTE[1], 0.64),
        "what the calculator said": (style.PALETTE[2], 0.64),
    }
)
"""What `parts_html` marks and how."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one model answered."""

    parts: Parts
    is_right: bool | None = None
    """None where nobody judges."""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A question with the answers of two models."""

    question: str
    before: Cell
    now: Cell
    gold: str = ""

    @property
    def flip(self) -> Literal["better", "worse", "same"]:
        """Whether the second model is right where the first is wrong, or the other way round."""
        if self.before.is_right == self.now.is_right:
            return "same"
        return "better" if self.now.is_right else "worse"


def side_by_side_html(pairs: Sequence[Pair], *, before: str, now: str) -> str:
    """Return a table: a row per question, the answers of both models beside each other, flips marked."""
    has_gold = any(pair.gold for pair in pairs)
    heads = ["question", *(["right answer"] if has_gold else []), before, now]
    head = "".join(f'<th style="{_HEAD}">{html.escape(text)}</th>' for text in heads)
    rows = "".join(_row(pair, has_gold) for pair in pairs)
    widths = (26, 10, 32, 32) if has_gold else (30, 35, 35)
    columns = "".join(f'<col style="width:{width}%">' for width in widths)
    return (
        f'<div style="overflow-x:auto"><table style="{_TABLE}">'
        f"{columns}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(pair: Pair, has_gold: bool) -> str:
    edge = {"better": style.PALETTE[2], "worse": style.PALETTE[5], "same": None}[pair.flip]
    line = "transparent" if edge is None else edge
    question = f'<div style="{PLAIN}">{html.escape(pair.question)}</div>'
    cells = [
        f'<td style="{_CELL}border-left:4px solid {line}">{question}</td>',
        *([f'<td style="{_CELL}">{html.escape(pair.gold)}</td>'] if has_gold else []),
        _cell(pair.before),
        _cell(pair.now, {"better": "now right", "worse": "now wrong", "same": ""}[pair.flip], edge),
    ]
    return f'<tr style="border-top:1px solid rgba(136,136,136,.3)">{"".join(cells)}</tr>'


_TABLE = "width:100%;border-collapse:collapse;font-size:.92em"
_HEAD = "text-align:left;padding:.3em .6em"
_CELL = "vertical-align:top;padding:.4em .6em;"
_NUMBER = "text-align:right;font-variant-numeric:tabular-nums;"


def _cell(cell: Cell, flip: str = "", edge: str | None = None) -> str:
    mark = {True: "✓", False: "✗", None: ""}[cell.is_right]
    back = f"background:{style.transparent(edge, 0.18)};" if edge is not None else ""
    notes = " · ".join(part for part in (f"{mark} {flip}".strip(), cell.note) if part)
    note = f'<div style="font-size:.85em;opacity:.75">{html.escape(notes)}</div>' if notes else ""
    return f'<td style="{_CELL}{back}">{parts_html(cell.parts)}{note}</td>'


@dataclass(frozen=True, kw_only=True)
class Judged:
    """An answer and what was made of it."""

    parts: Parts
    is_right: bool
    rewards: Mapping[str, float]
    """What each reward function said, unweighted."""
    reward: float
    advantage: float
    note: str = ""


def group_html(
    question: str,
    gold: str,
    group: Sequence[Judged],
    *,
    chosen: int | None = None,
    called: Mapping[str, str] | None = None,
) -> str:
    """Return a problem and a table of all answers to it, `chosen` marked; the last column is the advantage,
    warm where an answer is to be given more often and cold where less often.

    called: what stands over the column of a reward, if not its name.
    """
    names = list(dict.fromkeys(name for answer in group for name in answer.rewards))
    heads = ["", "answer", *((called or {}).get(name, name) for name in names), "reward", "advantage"]
    head = "".join(f'<th style="{_HEAD}">{html.escape(text)}</th>' for text in heads)
    limit = max((abs(answer.advantage) for answer in group), default=0.0) or 1.0
    rows = "".join(
        _judged(number, answer, names, limit, number == chosen) for number, answer in enumerate(group)
    )
    return (
        f'<div style="{FRAME}{PLAIN}margin-bottom:.5em">{html.escape(question)}\n'
        f'<span style="opacity:.75">right answer: {html.escape(gold)}</span></div>'
        f'<div style="overflow-x:auto"><table style="{_TABLE}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _judged(number: int, answer: Judged, names: Sequence[str], limit: float, is_chosen: bool) -> str:
    color = WARM if answer.advantage > 0 else COLD
    back = style.transparent(color, 0.45 * abs(answer.advantage) / limit)
    mark = f"{number + 1} {'✓' if answer.is_right else '✗'}"
    note = f'<div style="font-size:.85em;opacity:.75">{html.escape(answer.note)}</div>' if answer.note else ""
    parts = [answer.rewards.get(name) for name in names]
    numbers = "".join(
        f'<td style="{_CELL}{_NUMBER}">{"" if part is None else f"{part:.2f}"}</td>'
        for part in [*parts, answer.reward]
    )
    line = "rgba(136,136,136,.9)" if is_chosen else "transparent"
    return (
        '<tr style="border-top:1px solid rgba(136,136,136,.3)">'
        f'<td style="{_CELL}white-space:nowrap;border-left:4px solid {line}">{mark}</td>'
        f'<td style="{_CELL}width:60%">{parts_html(answer.parts)}{note}</td>{numbers}'
        f'<td style="{_CELL}{_NUMBER}background:{back}">{answer.advantage:+.2f}</td></tr>'
    )
