"""The batch that fine-tuning takes next: its conversations, and what the model makes of their tokens.

B: rows, T: positions of a row.
"""

from dataclasses import dataclass

import numpy as np
import torch

from picochat.data.batch import IGNORE, peek
from picochat.plots.batches import Shares, Span, batch_spans, document_places, shares, whole_rows
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.run import Run

HOVER_CHARACTERS = 60


@dataclass(frozen=True, kw_only=True)
class BatchView:
    """A packed batch as numbers."""

    step: int
    """The step that trains on it."""
    ids_BT: np.ndarray
    learned_BT: np.ndarray
    """Whether each token counts in the loss."""
    losses_BT: np.ndarray
    """-log p of each token in nats under the present weights, given those before it in its row; 0 for the
    first and for padding."""
    spans: list[Span]

    @property
    def shares(self) -> Shares:
        """What the positions are used for."""
        return shares(self.spans)

    def document(self, number: int) -> tuple[list[int], list[bool], list[float]]:
        """Return ids, whether they are learned, and losses of document `number`, counted from 0."""
        row, places = document_places(self.spans, number)
        return (
            self.ids_BT[row, places].tolist(),
            self.learned_BT[row, places].tolist(),
            self.losses_BT[row, places].tolist(),
        )

    def text_of(self, span: Span, tokenizer: Tokenizer) -> str:
        """Return the beginning of a span's text."""
        if span.kind == "padding":
            return ""
        ids = self.ids_BT[span.row, span.start : span.start + span.length].tolist()
        text = tokenizer.decode(id for id in ids if not tokenizer.is_special(id))
        return text if len(text) <= HOVER_CHARACTERS else f"{text[:HOVER_CHARACTERS]}…"


@torch.no_grad()
def view_batch(run: Run) -> BatchView:
    """Return the batch that the next step of an SFT run will take; the run does not notice."""
    batch = peek(run.trainer.batches)
    special = run.tokenizer.special
    pad_id = special["<|pad|>"]
    ids_BT, learned_BT = whole_rows(
        batch.ids_BT.numpy(), batch.targets_BT.numpy(), ignore=IGNORE, pad_id=pad_id
    )
    next_BT = torch.from_numpy(np.where(ids_BT[:, 1:] == pad_id, IGNORE, ids_BT[:, 1:]))
    device = run.model.device
    losses_BT = run.model.loss_per_token(batch.ids_BT.to(device), next_BT.to(device)).float().cpu().numpy()
    return BatchView(
        step=run.trainer.step + 1,
        ids_BT=ids_BT,
        learned_BT=learned_BT,
        losses_BT=np.hstack((np.zeros((len(ids_BT), 1)), losses_BT)),
        spans=batch_spans(ids_BT, learned_BT, bos_id=special["<|bos|>"], pad_id=pad_id),
    )
