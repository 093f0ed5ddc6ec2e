"""The next batch, made while the device still computes with this one."""

from typing import Any

from picochat.data.batch import Batch, BatchSource
from picochat.errors import UserError


class Ahead:
    """A source of the same batches as another, of which one may be drawn before it is its turn.

    Its position is that of the next batch to be given, whether that is drawn or not. Not for a source whose
    batches are written by the model in training.
    """

    def __init__(self, source: BatchSource, *, pins: bool) -> None:
        """pins: draw into memory that a CUDA device can copy from by itself."""
        self.source = source
        self.pins = pins
        self._drawn: tuple[dict[str, Any], Batch] | None = None
        """The position before the batch that was drawn, and that batch."""

    def draw(self) -> None:
        """Make the next batch now. What the data has to complain about is left for its turn."""
        if self._drawn is not None:
            return
        before = self.source.state_dict()
        try:
            batch = next(self.source)
        except UserError:
            self.source.load_state_dict(before)
            return
        self._drawn = before, batch.pinned() if self.pins else batch

    def __next__(self) -> Batch:
        """Return the next batch."""
        if self._drawn is None:
            return next(self.source)
        _, batch = self._drawn
        self._drawn = None
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Return the position as a small JSON value."""
        return self.source.state_dict() if self._drawn is None else self._drawn[0]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a saved position."""
        self._drawn = None
        self.source.load_state_dict(state)

    @property
    def batch_size(self) -> int | None:
        """Rows of the batches to come; None where the source has no say in it."""
        return getattr(self.source, "batch_size", None)

    @batch_size.setter
    def batch_size(self, batch_size: int) -> None:
        self.load_state_dict(self.state_dict())  # what is drawn has as many rows as before
        setattr(self.source, "batch_size", batch_size)  # noqa: B010 (not all sources have it)
