"""What all figures share: colours that everybody can tell apart, and a look for light and dark pages.

Axes are described in the template, never in the layout: marimo keeps a user's zoom over repaints only then.
"""

import html
from typing import Any

import plotly.graph_objects as go
import plotly.io

PALETTE = ("#1C83C2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B2A800")
"""Okabe and Ito's colours (Color Universal Design, 2008) without black, which a dark page swallows, with the
blue brightened, which one dims, and with the yellow darkened, which a white one swallows."""
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "x")
NEUTRAL = "#888888"
"""Texts and reference lines: over 3.5:1 against white and against near-black."""
_GRID = "rgba(136, 136, 136, 0.25)"
_CLEAR = "rgba(0,0,0,0)"
_BUTTONS = {
    "bgcolor": _CLEAR,
    "color": NEUTRAL,
    "activecolor": NEUTRAL,
    "remove": [
        *("zoom", "pan", "select", "lasso", "zoomin", "zoomout", "autoscale"),
        *("zoom2d", "pan2d", "select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"),
    ],
}
"""The buttons over a figure: save it, and see all of it again. Screens without a mouse always show them, and
with all of plotly's they hid the legend."""
# marimo adds buttons of its own, which only the configuration of the renderer that it looks at keeps out.
plotly.io.renderers["browser"].config = {"modeBarButtons": [["toImage", "resetScale2d"]]}


def color(index: int) -> str:
    """Return the colour of series `index`; they repeat after seven."""
    return PALETTE[index % len(PALETTE)]


def transparent(color: str, opacity: float) -> str:
    """Return the CSS of a colour `#rrggbb` that lets the page through; `opacity` is cut to 0 to 1."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{min(max(opacity, 0.0), 1.0):.2f})"


def symbol(index: int) -> str:
    """Return the marker of series `index`; colour and marker repeat together."""
    return SYMBOLS[index % len(SYMBOLS)]


def label(text: str) -> str:
    """Return `text` such that plotly shows it as it is; plotly takes `<b>` and `<a>` for markup."""
    return html.escape(text, quote=False)


def figure(
    *, x: dict[str, Any] | None = None, y: dict[str, Any] | None = None, title: str = "", height: int = 360
) -> go.Figure:
    """Return an empty figure; `x` and `y` hold plotly's axis settings, `title` plain text."""
    axis = {
        **{"gridcolor": _GRID, "zerolinecolor": _GRID, "linecolor": _GRID, "automargin": True},
        # Measuring every tick's label after every repaint took a third of the browser's time.
        "ticklabeloverflow": "allow",
    }
    layout = go.Layout(
        font={"color": NEUTRAL, "family": "system-ui, sans-serif", "size": 13},
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        modebar=_BUTTONS,
        xaxis={**axis, **(x or {})},
        yaxis={**axis, **(y or {})},
        colorway=PALETTE,
        margin={"l": 10, "r": 10, "t": 64 if title else 32, "b": 10},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "left", "x": 0.0},
        hovermode="closest",
    )
    made = go.Figure(layout={"template": go.layout.Template(layout=layout)})
    made.update_layout(height=height, uirevision="same")
    if title:
        made.update_layout(
            title={"text": label(title), "x": 0, "y": 0.98, "yanchor": "top", "font": {"size": 15}}
        )
    return made
