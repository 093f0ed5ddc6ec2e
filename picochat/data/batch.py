"""What a batch source hands to the trainer. B: sequences of one optimizer step, T: tokens of a sequence."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from picochat.model.gpt import IGNORE

__all__ = ["IGNORE", "Batch", "BatchSource", "peek"]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """All sequences of one optimizer step, over all ranks and micro-batches."""

    ids_BT: torch.Tensor
    """Input token ids, int64."""
    targets_BT: torch.Tensor
    """The token that follows each input token, int64; `IGNORE` where it is not to be learned."""
    extras: dict[str, torch.Tensor] = field(default_factory=dict)
    """Further tensors whose first dimension is B, for losses that need them."""
    stats: dict[str, float] = field(default_factory=dict)
    """What is to be reported about the whole batch."""

    def rows(self, start: int, stop: int) -> "Batch":
        """Return the sequences `start:stop` as a batch."""
        extras = {name: tensor[start:stop] for name, tensor in self.extras.items()}
        return Batch(ids_BT=self.ids_BT[start:stop], targets_BT=self.targets_BT[start:stop], extras=extras)

    def pinned(self) -> "Batch":
        """Return the batch in memory that a CUDA device can copy from while the host does other work."""
        return self._each(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on `device`; copies to an accelerator overlap with its work."""
        if device.type == "cpu":
            return self
        here = self.pinned() if device.type == "cuda" and not self.ids_BT.is_cuda else self
        return here._each(lambda tensor: tensor.to(device, non_blocking=True))

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        extras = {name: change(tensor) for name, tensor in self.extras.items()}
        return replace(self, ids_BT=change(self.ids_BT), targets_BT=change(self.targets_BT), extras=extras)


class BatchSource(Protocol):
    """An endless iterator of batches whose position is a small JSON value.

    It does not know ranks: each rank draws the same batch and takes its own rows, so that a saved position
    holds for any number of ranks.
    """

    def __next__(self) -> Batch: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def peek(source: BatchSource) -> Batch:
    """Return the next batch without taking it: `source` will give the same one again.

    Not for a source whose batches are written by the model in training: it would write them twice.
    """
    before = source.state_dict()
    try:
        return next(source)
    finally:
        source.load_state_dict(before)
