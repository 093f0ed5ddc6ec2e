"""`picochat pretrain`: train a model on raw text."""

from collections.abc import Sequence
from dataclasses import dataclass

from picochat.commands.training import resumed_options, train
from picochat.train.options import PretrainOptions


@dataclass(frozen=True, kw_only=True)
class Pretrain(PretrainOptions):
    """Train a model on raw text."""

    @classmethod
    def defaults(cls, args: Sequence[str]) -> "Pretrain | None":
        """Return the options of the run that `args` resume, if they do."""
        return resumed_options(cls, "pretrain", args)

    def execute(self) -> None:
        """Train and show how it goes."""
        from picochat.train.pretrain import build_pretrain

        train("pretrain", self, build_pretrain)
