"""What the picture of a packed batch shows, span by span."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from picochat.plots.batches import (
    MEANING,
    Span,
    batch_figure,
    batch_spans,
    document_places,
    shares,
    whole_rows,
)

BOS, PAD, IGNORE = 90, 91, -1


def test_a_batch_falls_into_spans():
    ids_BT = np.array([[BOS, 1, 2, 3, BOS, 4, PAD, PAD], [BOS, 5, 6, 7, 8, 9, 10, 11]])
    targets_BT = np.array([[-1, 2, 3, -1, 4, -1, -1, -1], [-1, -1, -1, -1, 9, 10, 11, 12]])
    ids_BT, learned_BT = whole_rows(ids_BT, targets_BT, ignore=IGNORE, pad_id=PAD)
    # A target at a position is the token of the next one.
    assert np.flatnonzero(learned_BT[0]).tolist() == [2, 3, 5]
    assert ids_BT[:, -1].tolist() == [PAD, 12]
    spans = batch_spans(ids_BT, learned_BT, bos_id=BOS, pad_id=PAD)
    assert [(s.row, s.start, s.length, s.document, s.kind) for s in spans] == [
        (0, 0, 2, 0, "read"),
        (0, 2, 2, 0, "learned"),
        (0, 4, 1, 1, "read"),
        (0, 5, 1, 1, "learned"),
        (0, 6, 3, -1, "padding"),
        (1, 0, 5, 2, "read"),
        (1, 5, 4, 2, "learned"),
    ]
    found = shares(spans)
    assert (found.learned, found.read, found.padding) == (7 / 18, 8 / 18, 3 / 18)
    assert found.num_documents == 3
    assert document_places(spans, 1) == (0, slice(4, 6))


@given(st.lists(st.lists(st.sampled_from([1, 2, BOS, PAD]), min_size=9, max_size=9), min_size=1, max_size=4))
def test_every_position_is_in_one_span(rows: list[list[int]]):
    ids_BT = np.array(rows)
    learned_BT = ids_BT == 2
    spans = batch_spans(ids_BT, learned_BT, bos_id=BOS, pad_id=PAD)
    covered = np.zeros(ids_BT.shape, dtype=int)
    for span in spans:
        part = slice(span.start, span.start + span.length)
        covered[span.row, part] += 1
        assert (span.kind == "padding") == (ids_BT[span.row, part] == PAD).all()
        assert not (ids_BT[span.row, span.start + 1 : part.stop] == BOS).any()
        if span.kind != "padding":
            assert (learned_BT[span.row, part] == (span.kind == "learned")).all()
    assert (covered == 1).all()


def test_the_figure_draws_each_span():
    spans = [
        Span(row=0, start=0, length=3, document=0, kind="read"),
        Span(row=0, start=3, length=2, document=0, kind="learned"),
        Span(row=1, start=0, length=4, document=1, kind="learned"),
        Span(row=1, start=4, length=1, document=-1, kind="padding"),
    ]
    figure = batch_figure(spans, text_of=lambda span: f"<b>{span.document}")
    bars = {trace.name: trace for trace in figure.data if trace.showlegend is False}
    learned = bars[MEANING["learned"]]
    assert (list(learned.base), list(learned.x), list(learned.y)) == ([3, 0], [2, 4], [0, 1])
    assert learned.marker.color[0] != learned.marker.color[1]
    assert learned.marker.color[0] == bars[MEANING["read"]].marker.color[0]
    assert learned.customdata[1][2] == "&lt;b&gt;1"
    assert list(bars[MEANING["padding"]].base) == [4]
    assert {"xaxis", "yaxis"}.isdisjoint(figure.to_plotly_json()["layout"])
    assert {trace.name for trace in figure.data if trace.showlegend is not False} == set(MEANING.values())
