"""`picochat grpo`: let a model practise on problems whose answers can be judged."""

from collections.abc import Sequence
from dataclasses import dataclass

from picochat.commands.training import resumed_options, train
from picochat.train.options import GrpoOptions


@dataclass(frozen=True, kw_only=True)
class Grpo(GrpoOptions):
    """Let a model practise: it answers problems many times and learns from what was rewarded."""

    @classmethod
    def defaults(cls, args: Sequence[str]) -> "Grpo | None":
        """Return the options of the run that `args` resume, if they do."""
        return resumed_options(cls, "grpo", args)

    def execute(self) -> None:
        """Train and show how it goes."""
        from picochat.train.grpo import build_grpo

        train("grpo", self, build_grpo)
