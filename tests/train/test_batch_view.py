"""Looking at the batch that comes next."""

import numpy as np
import pytest

from picochat.data.batch import IGNORE
from picochat.train.batch_view import view_batch
from picochat.train.events import StepDone


def test_it_is_the_batch_of_the_next_step(tmp_path, begin_sft, open_runs):
    """Its mean loss over the learned tokens is the loss that the step reports."""
    run = begin_sft(tmp_path)
    open_runs.append(run)
    for event in run:
        if not isinstance(event, StepDone):
            view = view_batch(run)
            continue
        assert event.step == view.step
        assert event.tokens == view.learned_BT.sum()
        assert event.loss == pytest.approx(view.losses_BT[view.learned_BT].mean(), rel=1e-4)
        if event.step == 4:
            break
        view = view_batch(run)


def test_looking_changes_nothing(tmp_path, begin_sft, whole_curves, curve):
    run = begin_sft(tmp_path)
    for _ in run:
        if run.trainer.step < run.trainer.steps:
            view_batch(run)
    assert curve(run.directory) == whole_curves["sft"]


def test_documents_and_their_texts(tmp_path, begin_sft, open_runs):
    run = begin_sft(tmp_path)
    open_runs.append(run)
    view, tokenizer = view_batch(run), run.tokenizer
    assert view.ids_BT.shape == (2, run.options.seq_len + 1)
    for number in range(view.shares.num_documents):
        ids, learned, losses = view.document(number)
        assert ids[0] == tokenizer.special["<|bos|>"]
        assert not learned[0]
        assert any(learned)
        assert len(ids) == len(learned) == len(losses)
    for span in view.spans:
        ids = view.ids_BT[span.row, span.start : span.start + span.length]
        text = tokenizer.decode([id for id in ids.tolist() if not tokenizer.is_special(id)])
        assert view.text_of(span, tokenizer) == ("" if span.kind == "padding" else text)
    is_padding = view.ids_BT == tokenizer.special["<|pad|>"]
    assert not view.losses_BT[is_padding].any()
    assert IGNORE not in np.unique(view.ids_BT)
