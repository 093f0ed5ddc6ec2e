"""Tables as HTML for pages that are light or dark. All texts are escaped."""

import html
from collections.abc import Sequence

STYLE = """\
<style>
.pc-table { width: 100%; border-collapse: collapse; font-size: 0.92rem; }
.pc-table th, .pc-table td { text-align: left; vertical-align: top; padding: 0.3rem 0.8rem 0.3rem 0;
  border-bottom: 1px solid rgba(136, 136, 136, 0.3); }
.pc-table tr.part td:first-child { padding-left: 1.5rem; }
.pc-table tr.whole td:first-child { font-weight: 600; }
.pc-bar { height: 0.5rem; border-radius: 4px; background: rgba(136, 136, 136, 0.25); }
.pc-bar div { height: 100%; border-radius: 4px; background: #0072B2; }
</style>
"""

Row = tuple[str, Sequence[str]]
"""Name of a row and its cells. A name that begins with a space is a part of the row above it."""


def table_html(head: Sequence[str], rows: Sequence[Row]) -> str:
    """Return a table; `head` has the name of the first column too."""
    top = "".join(f"<th>{html.escape(text)}</th>" for text in head)
    body = "".join(
        f'<tr class="{"part" if name.startswith(" ") else "whole"}">'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in (name.strip(), *cells))
        + "</tr>"
        for name, cells in rows
    )
    return f'{STYLE}<table class="pc-table"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def bar_html(share: float) -> str:
    """Return a bar that is filled to `share`, 0 to 1."""
    return f'{STYLE}<div class="pc-bar"><div style="width:{share:.1%}"></div></div>'
