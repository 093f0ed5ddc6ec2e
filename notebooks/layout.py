"""How the pages set things beside and below each other, on wide windows and on narrow ones."""

from collections.abc import Callable
from typing import TypeVar

import marimo as mo

T = TypeVar("T")


def ready() -> mo.Html:
    """Return what takes the words "preparing the page" away, which stand in an element `pc-preparing`.

    A cell of mere markdown is shown at once, seconds before the imports are done and a cell can run.
    """
    return mo.Html("<style>.pc-preparing { display: none; }</style>")


def text(markdown: str) -> mo.Html:
    """Return markdown for a stack as one block; else each of its paragraphs is set apart like an item."""
    return mo.Html(f"<div>{mo.md(markdown).text}</div>")


def controls(*items: object) -> mo.Html:
    """Return controls side by side; what has no room begins another line, and no label is squeezed."""
    return mo.hstack(items, justify="start", wrap=True, gap=1.5)


def grid(*items: object, least: str = "24rem") -> mo.Html:
    """Return items of equal width, as many beside each other as have `least` (CSS) each.

    They shrink with the window, which pictures in a row of marimo's do not.
    """
    columns = f"repeat(auto-fit,minmax(min({least},100%),1fr))"
    cells = "".join(
        f'<div style="min-width:0;overflow:hidden">{mo.as_html(item).text}</div>' for item in items
    )
    return mo.Html(f'<div style="display:grid;gap:1rem;grid-template-columns:{columns}">{cells}</div>')


def only_changes(tell: Callable[[T], object], value: T) -> Callable[[T], None]:
    """Return `tell` for those who would tell the same again and again: it is called where `value` changes.

    A state that is set makes cells run, whatever it is set to.
    """

    def told(new: T) -> None:
        nonlocal value
        if new != value:
            value = new
            tell(new)

    return told
