"""`picochat sft`: teach a trained model to answer, from conversations."""

from collections.abc import Sequence
from dataclasses import dataclass

from picochat.commands.training import resumed_options, train
from picochat.train.options import SftOptions


@dataclass(frozen=True, kw_only=True)
class Sft(SftOptions):
    """Teach a trained model to answer, from conversations."""

    @classmethod
    def defaults(cls, args: Sequence[str]) -> "Sft | None":
        """Return the options of the run that `args` resume, if they do."""
        return resumed_options(cls, "sft", args)

    def execute(self) -> None:
        """Train and show how it goes."""
        from picochat.train.sft import build_sft

        train("sft", self, build_sft)
