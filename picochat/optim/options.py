"""Options of the optimizer, importable without torch."""

from dataclasses import dataclass
from typing import Literal

from picochat.errors import UserError

DEFAULT_LR = {"muon": 0.02, "adamw": 0.003}


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """How the weights are updated."""

    optimizer: Literal["muon", "adamw"] = "muon"
    """What trains the block matrices; everything else is trained by AdamW."""
    lr: float | None = None
    """Learning rate of the block matrices (default 0.02 with muon, 0.003 with adamw); all groups scale
    with it."""
    embedding_lr: float = 15.0
    """Learning rate of token and value embeddings, as a multiple of muon's."""
    head_lr: float = 0.4
    """Learning rate of the output head, as a multiple of muon's."""
    scalar_lr: float = 1.0
    """Learning rate of the per-layer scalars, as a multiple of muon's."""
    momentum: float = 0.95
    """Momentum of muon."""
    weight_decay: float = 0.0
    """Decoupled weight decay of the block matrices."""

    def __post_init__(self) -> None:
        for name in ("lr", "embedding_lr", "head_lr", "scalar_lr"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"--{name.replace('_', '-')} must be over 0, not {value}")

    @property
    def matrix_lr(self) -> float:
        """The learning rate of the block matrices."""
        return DEFAULT_LR[self.optimizer] if self.lr is None else self.lr

    @property
    def unit_lr(self) -> float:
        """What the other groups' rates are multiples of: `lr` as it would be under muon."""
        return self.matrix_lr / DEFAULT_LR[self.optimizer] * DEFAULT_LR["muon"]
