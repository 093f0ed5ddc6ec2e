"""What happens in a run, as frozen values. Every field is JSON; the run's files hold one event a
line."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened after `step` optimizer steps."""

    event: ClassVar[str]
    """Name under which the event stands in its file."""
    file: ClassVar[str] = "metrics.jsonl"
    """File of the run directory that keeps the event."""
    step: int

    def row(self) -> dict[str, Any]:
        """Return the event as a JSON object."""
        return {"event": self.event, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class StepDone(Event):
    """One optimizer step was made."""

    event = "step"
    loss: float
    """Mean loss of the step's target tokens, in nats."""
    tokens: int
    """Target tokens of the step, over all ranks."""
    tokens_seen: int
    """Target tokens of all steps so far."""
    seconds: float
    """Time the step took."""
    tokens_per_second: float
    """Positions (padding included) processed a second."""
    mfu: float | None
    """Share of the device's peak arithmetic rate, if that rate is known."""
    lr: dict[str, float]
    """Learning rate of each parameter group."""
    grad_norm: float
    """Norm of the whole gradient before clipping."""
    update_ratio: dict[str, float] = field(default_factory=dict)
    """Norm of the update over norm of the weights, per group; measured every few steps."""
    stats: dict[str, float] = field(default_factory=dict)
    """What else the loss function reports."""
    stop: bool = False
    """Whether some rank wants to stop after this step."""


@dataclass(frozen=True, kw_only=True)
class EvalDone(Event):
    """The model was measured on held-out data."""

    event = "eval"
    metrics: dict[str, float]
    """For instance `bpb` (bits per byte) or `val_loss` (nats per target token)."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class SampleDone(Event):
    """The model continued a fixed prompt."""

    event = "sample"
    file = "samples.jsonl"
    prompt: str
    text: str


@dataclass(frozen=True, kw_only=True)
class RolloutDone(Event):
    """The model answered a problem several times, and was trained on the answers by step `step`."""

    event = "rollout"
    file = "rollouts.jsonl"
    index: int
    """Which of the step's groups it is."""
    task: str
    problem: str
    """The problem's id."""
    level: str
    prompt: list[dict[str, Any]]
    """The conversation that was answered, in the form of chat data."""
    gold: str
    is_trained: bool
    """False where dynamic sampling put another group in its place."""
    answers: list[dict[str, Any]]
    """See `picochat.train.groups.Answer`: parts, extracted, rewards, advantage, length, finish reason."""


@dataclass(frozen=True, kw_only=True)
class Changed(Event):
    """The user changed how the run goes on after step `step`; a run that is resumed changes there too."""

    event = "changed"
    lr_scale: float
    """Factor on every learning rate from here on, beside that of the schedule; 1 is as the run began."""
    batch_size: int | None
    """Sequences of a step from here on; None in a stage that has no batch size."""


@dataclass(frozen=True, kw_only=True)
class Saved(Event):
    """A complete checkpoint is on disk."""

    event = "saved"
    path: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Paused(Event):
    """The run waits for `resume` or `stop`."""

    event = "paused"


@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    """The run came to its end."""

    event = "finished"
    state: str
    """`finished`, or `stopped` if it can be resumed."""


_BY_NAME = {
    kind.event: kind
    for kind in (StepDone, EvalDone, SampleDone, RolloutDone, Changed, Saved, Paused, Finished)
}


def event_of(row: Mapping[str, Any]) -> Event:
    """Return the event that a line of a run's files tells of; what is not known of it is left out.

    Raises:
        ValueError: it is of no known kind, or lacks a field.
    """
    kind = _BY_NAME.get(row["event"])
    if kind is None:
        raise ValueError(f"no such event: {row['event']!r}")
    try:
        return kind(**{field.name: row[field.name] for field in fields(kind) if field.name in row})
    except TypeError as error:
        raise ValueError(f"not a {row['event']} event: {error}") from error
