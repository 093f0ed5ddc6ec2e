"""How the learning rates change over a run."""

from dataclasses import dataclass

from picochat.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A factor on every learning rate: linear warm-up, flat, linear warm-down.

    The first step is not wasted: step 0 gets 1/warmup, not 0.
    """

    steps: int
    """Steps of the whole run."""
    warmup: int = 0
    """Steps over which the factor rises to 1."""
    warmdown: float = 0.5
    """Share of the steps, at the end, over which the factor falls to `final`."""
    final: float = 0.0
    """Factor that the step after the last would have."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"--steps must be at least 1, not {self.steps}")
        if self.warmup < 0:
            raise UserError(f"--warmup must not be negative, not {self.warmup}")
        if not 0.0 <= self.warmdown <= 1.0:
            raise UserError(f"--warmdown is a share of the steps between 0 and 1, not {self.warmdown}")

    def factor(self, step: int) -> float:
        """Return the factor of step `step`, counted from 0."""
        rise = (step + 1) / self.warmup if step < self.warmup else 1.0
        down_steps = self.warmdown * self.steps
        left = self.steps - step
        fall = left / down_steps if left < down_steps else 1.0
        return min(rise, self.final + (1.0 - self.final) * fall)
