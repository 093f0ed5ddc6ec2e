"""Texts that a model wrote while it was trained, side by side."""

import html
import re
from collections.abc import Sequence

from picochat.plots.answers import parts_html

_MARKED = re.compile(r"<\|(think|tool_call|tool_result)_start\|>(.*?)(?:<\|\1_end\|>|\Z)", re.DOTALL)
_KINDS = {"think": "thinking", "tool_call": "tool_call", "tool_result": "tool_result"}


def sample_html(samples: Sequence[tuple[int, str, str]], *, rows: int = 8) -> str:
    """Return a table of (step, prompt, text): a row per step, the newest on top, a column per prompt.

    Of many steps `rows` at about equal distances are shown, the first and the last among them. Thoughts,
    calls and results are marked as in answers. The texts are shown, never obeyed.
    """
    prompts = list(dict.fromkeys(prompt for _, prompt, _ in samples))
    texts = {(step, prompt): text for step, prompt, text in samples}
    steps = thin_out(sorted({step for step, _, _ in samples}), rows)
    cell = "padding:.3rem .9rem .3rem 0;vertical-align:top;border-bottom:1px solid rgba(136,136,136,.3);"
    head = "".join(f'<th style="{cell}text-align:left">{_shown(prompt)} …</th>' for prompt in prompts)
    body = "".join(
        f'<tr><td style="{cell}font-variant-numeric:tabular-nums;text-align:right">{step:,}</td>'
        + "".join(
            f'<td style="{cell}white-space:pre-wrap;overflow-wrap:anywhere">{_with_parts(text)}</td>'
            for text in (texts.get((step, prompt), "") for prompt in prompts)
        )
        + "</tr>"
        for step in reversed(steps)
    )
    return (
        '<div style="overflow-x:auto"><table style="border-collapse:collapse;font-size:14px">'
        f'<tr><th style="{cell}text-align:right">step</th>{head}</tr>{body}</table></div>'
    )


def documents_html(texts: Sequence[str], *, most: int = 400) -> str:
    """Return texts beside each other, as they are written, each cut after `most` characters."""
    box = (
        "flex:1 1 16rem;min-width:0;padding:.5rem .8rem;border:1px solid rgba(136,136,136,.3);"
        "border-radius:.4rem;white-space:pre-wrap;overflow-wrap:anywhere"
    )
    boxes = "".join(
        f'<div style="{box}">{_shown(text[:most])}{" …" if len(text) > most else ""}</div>' for text in texts
    )
    return f'<div style="display:flex;flex-wrap:wrap;gap:.6rem;font-size:14px">{boxes}</div>'


def thin_out(steps: Sequence[int], most: int) -> list[int]:
    """Return at most `most` of the steps at about equal distances, the first and the last among them."""
    assert most >= 2
    if len(steps) <= most:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]


def parts_of(text: str) -> list[dict[str, str]]:
    """Return the parts of text that spells where thoughts, calls and results begin and end; only for show.

    >>> parts_of("<|think_start|>I add.<|think_end|>5")
    [{'type': 'thinking', 'text': 'I add.'}, {'type': 'text', 'text': '5'}]
    """
    parts: list[dict[str, str]] = []
    end = 0
    for match in _MARKED.finditer(text):
        parts.append({"type": "text", "text": text[end : match.start()]})
        parts.append({"type": _KINDS[match[1]], "text": match[2]})
        end = match.end()
    parts.append({"type": "text", "text": text[end:]})
    return [part for part in parts if part["text"]]


def _with_parts(text: str) -> str:
    return parts_html(parts_of(_visible(text))) if _MARKED.search(text) else _shown(text)


def _shown(text: str) -> str:
    """Return text for a cell: escaped, control characters as codes."""
    return html.escape(_visible(text))


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in text)
