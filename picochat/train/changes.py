"""What a user changes about a run while it trains, so that it can be told, drawn and repeated exactly."""

import math
from dataclasses import replace
from typing import Any

from picochat.errors import UserError
from picochat.train.events import Changed
from picochat.train.options import RunOptions
from picochat.train.run_dir import RunDir, read_rows
from picochat.train.trainer import Trainer


class Changes:
    """The changes of a run. metrics.jsonl is their record: a resumed run makes each again after its step.

    So a run that was changed, killed and resumed has the curve of the run that was not killed. A change that
    is made anew at an earlier step makes those that were after it void.
    """

    def __init__(self, trainer: Trainer, options: RunOptions) -> None:
        self._trainer, self._options = trainer, options
        self._planned: dict[int, Changed] = {}

    def make(self, *, lr_scale: float | None, batch_size: int | None) -> Changed:
        """Return the change, checked; what is None stays as it is."""
        if self._trainer.world.size > 1:
            raise UserError("a run of several processes can not be changed while it trains; resume it anew")
        if lr_scale is None:
            lr_scale = self._trainer.lr_scale
        if not 0 < lr_scale < math.inf:
            raise UserError(f"the learning rate can be scaled by a factor over 0, not {lr_scale}")
        if batch_size is None:
            batch_size = self._batch_size
        elif self._batch_size is None:
            raise UserError("this stage has no batch size that could be changed")
        else:
            replace(self._options, batch_size=batch_size)  # checks it
        return Changed(step=self._trainer.step, lr_scale=lr_scale, batch_size=batch_size)

    def apply(self, change: Changed) -> None:
        """Let the steps that follow be as `change` says."""
        self._planned = {step: other for step, other in self._planned.items() if step < change.step}
        self._take(change)

    def due(self) -> Changed | None:
        """Return the change that was made after the present step before the run was resumed, if any."""
        return self._planned.get(self._trainer.step)

    def repeat(self, change: Changed) -> None:
        """Make a change that is due."""
        del self._planned[change.step]
        self._take(change)

    def restore(self, directory: RunDir, stored: dict[str, Any] | None) -> Changed | None:
        """Read the changes of a resumed run and make those up to the present step.

        `stored` are the options of its run.json. An option that is given anew counts for more than a change
        that was made before: then the change that says so is returned, to be written and applied.
        """
        for row in read_rows(directory.path / "metrics.jsonl"):
            if row["event"] == "changed":
                change = Changed(step=row["step"], lr_scale=row["lr_scale"], batch_size=row.get("batch_size"))
                self._planned = {step: c for step, c in self._planned.items() if step < change.step}
                self._planned[change.step] = change
        past = [step for step in self._planned if step <= self._trainer.step]
        if past:
            self._take(self._planned[max(past)])
        for step in past:
            del self._planned[step]
        if not (past or self._planned) or stored is None:
            return None
        now = self._options.row()
        anew = {name for name in ("lr", "batch_size") if name in now and now[name] != stored.get(name)}
        if not anew:
            return None
        return Changed(
            step=self._trainer.step,
            lr_scale=1.0 if "lr" in anew else self._trainer.lr_scale,
            batch_size=now["batch_size"] if "batch_size" in anew else self._batch_size,
        )

    @property
    def _batch_size(self) -> int | None:
        return getattr(self._trainer.batches, "batch_size", None)

    def _take(self, change: Changed) -> None:
        self._trainer.lr_scale = change.lr_scale
        if change.batch_size is not None:
            setattr(self._trainer.batches, "batch_size", change.batch_size)  # noqa: B010 (not all sources have it)
