"""Tokens as boxes, in HTML: for looking at a tokenizer. (`tokens.py` colours a text by values instead.)

A colour belongs to an id, so that the same token is the same colour wherever it stands. What texts say is
escaped.
"""

import html
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from picochat.plots import style

if TYPE_CHECKING:
    from picochat.tokenizer.examples import HardCase
    from picochat.tokenizer.tokenizer import Tokenizer

_SIGNS = {" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍"}

STYLE = """\
<style>
.pc-tokens { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: 0.92rem;
  line-height: 2.1; direction: ltr; overflow-wrap: anywhere; }
.pc-token { display: inline-block; position: relative; white-space: pre; line-height: 1.5; min-width: 0.5em;
  text-align: center; margin: 0 1px; padding: 0 2px; border-radius: 4px; unicode-bidi: isolate; }
.pc-token small { display: block; font-size: 0.62rem; line-height: 1.1; opacity: 0.65; }
.pc-token i { font-style: normal; opacity: 0.55; }
.pc-token.broken { font-size: 0.78rem; letter-spacing: -0.02em; }
.pc-token.special { border: 1.5px solid currentColor; font-weight: 600; }
.pc-token.ring { outline: 2px solid #D55E00; outline-offset: 1px; margin: 0 4px; }
.pc-token:hover::after { content: attr(data-tip); position: absolute; left: 0; top: 100%; z-index: 30;
  white-space: pre; text-align: left; padding: 4px 8px; margin-top: 3px; border-radius: 5px;
  font-size: 0.78rem; font-weight: 400; line-height: 1.45; letter-spacing: 0;
  background: #222; color: #fff; pointer-events: none; }
.pc-cases { width: 100%; border-collapse: collapse; }
.pc-cases th, .pc-cases td { text-align: left; vertical-align: top; padding: 0.5rem 0.6rem;
  border-top: 1px solid rgba(136, 136, 136, 0.3); }
.pc-cases th { font-weight: 600; width: 9rem; }
.pc-cases td:last-child { white-space: nowrap; }
.pc-cases .text { white-space: pre-wrap; unicode-bidi: plaintext; margin-bottom: 0.3rem; }
.pc-cases p { margin: 0.2rem 0 0; opacity: 0.75; font-size: 0.9em; }
</style>
"""
"""Stands once on a page or in each output; the classes are those of `tokens_html`."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A token as it is shown."""

    id: int
    token: bytes
    partial: str = ""
    """The characters of the text that the token holds a part of only."""
    is_special: bool = False
    is_ringed: bool = False


def spans(tokenizer: "Tokenizer", ids: Sequence[int], *, ringed: Collection[int] = ()) -> list[Span]:
    """Return the tokens of a text. ringed: places (not ids) to be marked."""
    tokens = [tokenizer.token_bytes(id) for id in ids]
    return [
        Span(
            id=id,
            token=token,
            partial=partial,
            is_special=tokenizer.is_special(id),
            is_ringed=place in ringed,
        )
        for place, (id, token, partial) in enumerate(zip(ids, tokens, _partials(tokens), strict=True))
    ]


def _partials(tokens: Sequence[bytes]) -> list[str]:
    """Return for each token the characters that begin or end in it but are not whole in it."""
    text = b"".join(tokens).decode(errors="surrogateescape")
    ends = set(accumulate(map(len, tokens)))
    token_of = [place for place, token in enumerate(tokens) for _ in token]
    partials = [""] * len(tokens)
    at = 0
    for char in text:
        stop = at + len(char.encode(errors="surrogateescape"))
        if any(inner in ends for inner in range(at + 1, stop)):
            for place in sorted(set(token_of[at:stop])):
                partials[place] += char
        at = stop
    return partials


def tokens_html(spans: Sequence[Span], *, with_ids: bool = False) -> str:
    """Return the tokens, one box each; a line of the text ends a line. Hovering shows id and bytes.

    with_ids: the id under each token as well.
    """
    boxes = []
    for span in spans:
        boxes.append(_box(span, with_id=with_ids))
        if span.token.endswith(b"\n") and not span.is_special:
            boxes.append("<br>")
    return f'<div class="pc-tokens">{"".join(boxes)}</div>'


def cases_html(tokenizer: "Tokenizer", cases: "Sequence[HardCase]") -> str:
    """Return a table of texts: their tokens, how many for how many bytes, and why they are hard."""
    rows = []
    for case in cases:
        ids = tokenizer.encode(case.text)
        assert tokenizer.decode(ids) == case.text
        num_bytes = len(case.text.encode())
        rows.append(
            f"<tr><th>{html.escape(case.name)}</th>"
            f'<td><div class="text">{html.escape(case.text)}</div>'
            f"{tokens_html(spans(tokenizer, ids))}<p>{html.escape(case.why)}</p></td>"
            f"<td><b>{len(ids)}</b> for {num_bytes} bytes</td></tr>"
        )
    return f'<table class="pc-cases"><tbody>{"".join(rows)}</tbody></table>'


def visible(token: bytes) -> str:
    """Return a token for the eye: spaces and line ends as signs, what can not be seen or is no whole
    character as codes.

    >>> visible(b" a\\n"), visible("\\u200b".encode()), visible(b"\\xe2\\x82")
    ('·a↵', '⟨200b⟩', 'e2 82')
    """
    try:
        text = token.decode()
    except UnicodeDecodeError:
        return token.hex(" ")
    shown = "".join(map(_visible_character, text))
    return f"◌{shown}" if text and unicodedata.combining(text[0]) else shown


def _visible_character(char: str) -> str:
    if char in _SIGNS:
        return _SIGNS[char]
    return char if char.isprintable() else f"⟨{ord(char):04x}⟩"


def describe(id: int, token: bytes, partial: str = "") -> str:
    """Return what is said of a token when the mouse is on it: id, bytes, characters by name."""
    lines = [f"id {id}", f"bytes {token.hex(' ')}" if token else "unused"]
    try:
        text = token.decode()
    except UnicodeDecodeError:
        lines.append(f"a part of {' and of '.join(partial) or 'a character'}")
    else:
        if not text.isascii():
            lines += [f"U+{ord(char):04X} {unicodedata.name(char, '')}".strip() for char in text[:6]]
    return "\n".join(lines)


def _box(span: Span, *, with_id: bool) -> str:
    classes = ["pc-token"]
    if span.is_special:
        tip = f"id {span.id}\nspecial: no text becomes it"
        classes.append("special")
    else:
        tip = describe(span.id, span.token, span.partial)
    if _is_broken(span.token):
        classes.append("broken")
    if span.is_ringed:
        classes.append("ring")
    background = "transparent" if span.is_special else _background(span.id)
    text = html.escape(span.token.decode() if span.is_special else visible(span.token))
    for sign in _SIGNS.values():
        text = text.replace(sign, f"<i>{sign}</i>")
    id_line = f"<small>{span.id}</small>" if with_id else ""
    return (
        f'<span class="{" ".join(classes)}" style="background:{background}" '
        f'data-tip="{html.escape(tip)}">{text}{id_line}</span>'
    )


def _is_broken(token: bytes) -> bool:
    try:
        token.decode()
    except UnicodeDecodeError:
        return True
    return False


def _background(id: int) -> str:
    # Neighbouring ids, such as a letter and the next, get colours far apart.
    return style.transparent(style.color(id * 3 + id // 7), 0.28)
