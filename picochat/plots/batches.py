"""A packed batch as a picture: which tokens of which conversation stand where, and which of them are learned.

B: rows of a batch, T: positions of a row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import plotly.graph_objects as go

from picochat.plots import style

Kind = Literal["learned", "read", "padding"]

MEANING: dict[Kind, str] = {
    "learned": "learned (counts in the loss)",
    "read": "only read (masked)",
    "padding": "padding (wasted)",
}
HATCHED = {
    "color": "rgba(0, 0, 0, 0)",
    "line": {"width": 0},
    "pattern": {"shape": "/", "size": 5, "solidity": 0.25, "fgcolor": style.NEUTRAL},
}


@dataclass(frozen=True, kw_only=True)
class Span:
    """Neighbouring tokens of one row that belong to one document and are treated alike."""

    row: int
    start: int
    length: int
    document: int
    """Counted through the whole batch; -1 for padding."""
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class Shares:
    """What the positions of a batch are used for; the three shares add up to 1."""

    learned: float
    read: float
    padding: float
    num_documents: int


def batch_spans(ids_BT: np.ndarray, learned_BT: np.ndarray, *, bos_id: int, pad_id: int) -> list[Span]:
    """Return the spans of a batch, row by row; every position is in exactly one.

    learned_BT: whether the token at a position is one that the model has to produce. A document begins with
    each `bos_id`; what stands before the first one of a row (a document that was cut) is one of its own.
    """
    spans: list[Span] = []
    document = -1
    for row, (ids_T, learned_T) in enumerate(zip(ids_BT, learned_BT, strict=True)):
        start = 0
        while start < len(ids_T):
            if ids_T[start] == bos_id or start == 0:
                document += 1
            is_padding = ids_T[start] == pad_id
            stop = start + 1
            while (
                stop < len(ids_T)
                and ids_T[stop] != bos_id
                and (ids_T[stop] == pad_id) == is_padding
                and learned_T[stop] == learned_T[start]
            ):
                stop += 1
            kind: Kind = "padding" if is_padding else "learned" if learned_T[start] else "read"
            spans.append(
                Span(
                    row=row,
                    start=start,
                    length=stop - start,
                    document=-1 if is_padding else document,
                    kind=kind,
                )
            )
            start = stop
    return spans


def whole_rows(
    ids_BT: np.ndarray, targets_BT: np.ndarray, *, ignore: int, pad_id: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that inputs and targets were cut from, (B, T + 1), and whether each token is learned.

    The last token of a row is known only if it is a target; if it is not, it counts as padding.
    """
    is_target_BT = targets_BT != ignore
    last_B1 = np.where(is_target_BT[:, -1:], targets_BT[:, -1:], pad_id)
    never_B1 = np.zeros((len(ids_BT), 1), dtype=bool)
    return np.hstack((ids_BT, last_B1)), np.hstack((never_B1, is_target_BT))


def document_places(spans: Sequence[Span], document: int) -> tuple[int, slice]:
    """Return the row of a document and where in it the document stands."""
    own = [span for span in spans if span.document == document]
    return own[0].row, slice(own[0].start, own[-1].start + own[-1].length)


def shares(spans: Sequence[Span]) -> Shares:
    """Return what the positions of a batch are used for."""
    count = dict.fromkeys(MEANING, 0)
    for span in spans:
        count[span.kind] += span.length
    total = sum(count.values())
    return Shares(
        learned=count["learned"] / total,
        read=count["read"] / total,
        padding=count["padding"] / total,
        num_documents=len({span.document for span in spans} - {-1}),
    )


def batch_figure(
    spans: Sequence[Span], *, text_of: Callable[[Span], str] | None = None, title: str = ""
) -> go.Figure:
    """Return the batch as bars: a line per row, a colour per document, strong where it is learned.

    text_of: what the mouse shows of a span besides its place, for instance its words.
    """
    num_rows = 1 + max(span.row for span in spans)
    figure = style.figure(
        x={"title": {"text": "position in the row (tokens)"}, "zeroline": False},
        y={
            "title": {"text": "row"},
            "range": [num_rows - 0.5, -0.5],
            "tickvals": list(range(num_rows)),
            "ticktext": [str(row + 1) for row in range(num_rows)],
            "zeroline": False,
            "showgrid": False,
        },
        title=title,
        height=110 + 30 * num_rows,
    )
    for kind in MEANING:
        own = [span for span in spans if span.kind == kind]
        figure.add_trace(_bars(kind, own, text_of))
        figure.add_trace(_legend_entry(kind))
    figure.update_layout(barmode="overlay", bargap=0.18)
    return figure


def _bars(kind: Kind, spans: Sequence[Span], text_of: Callable[[Span], str] | None) -> go.Bar:
    return go.Bar(
        orientation="h",
        base=[span.start for span in spans],
        x=[span.length for span in spans],
        y=[span.row for span in spans],
        name=MEANING[kind],
        legendgroup=kind,
        showlegend=False,
        opacity=0.32 if kind == "read" else 1.0,
        marker=HATCHED if kind == "padding" else {"color": [style.color(span.document) for span in spans]},
        customdata=[
            [span.start + span.length - 1, _describe(span), style.label(text_of(span)) if text_of else ""]
            for span in spans
        ],
        hovertemplate="%{customdata[1]}, tokens %{base} to %{customdata[0]}<br>%{customdata[2]}"
        f"<extra>{MEANING[kind]}</extra>",
    )


def _describe(span: Span) -> str:
    return "padding" if span.kind == "padding" else f"conversation {span.document + 1}"


def _legend_entry(kind: Kind) -> go.Bar:
    """Return a bar that is not there: the legend shows the kinds without a document's colour."""
    return go.Bar(
        x=[None],
        y=[None],
        orientation="h",
        name=MEANING[kind],
        legendgroup=kind,
        opacity=0.32 if kind == "read" else 1.0,
        marker=HATCHED if kind == "padding" else {"color": style.NEUTRAL},
    )
