"""What a terminal, or whatever stdout is piped to, shows of a run in training."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from picochat.train.events import EvalDone, Event, Paused, SampleDone, Saved, StepDone

if TYPE_CHECKING:
    from rich.console import Console

Show = Callable[[Event], None]

STEPS_BETWEEN_LINES = 20
MEAN_OF = 20
"""Steps over which the loss or reward that is shown is a mean."""


class Meter:
    """Figures of a run that need more than one event."""

    def __init__(self, step: int, steps: int) -> None:
        self.first_step, self.steps = step, steps
        self.step = step
        self._began = time.monotonic()
        self.name = "loss"
        """What is learned by: the loss, or the reward where there is one (then the loss says nothing)."""
        self._values: deque[float] = deque(maxlen=MEAN_OF)

    def add(self, event: StepDone) -> None:
        """Take note of a step."""
        self.step = event.step
        if "reward" in event.stats:
            self.name = "reward"
            self._values.append(event.stats["reward"])
        elif self.name == "loss":
            self._values.append(event.loss)

    @property
    def mean(self) -> float:
        """Mean loss or reward of the last steps."""
        return sum(self._values) / len(self._values)

    @property
    def seconds_left(self) -> float:
        """Time that the remaining steps take at the pace so far, validation and saving included."""
        return (time.monotonic() - self._began) / (self.step - self.first_step) * (self.steps - self.step)


@contextmanager
def view(name: str, step: int, steps: int) -> Iterator[Show]:
    """Yield a function that shows events: a bar on a terminal, plain lines when piped."""
    from rich.console import Console

    console = Console(highlight=False)
    meter = Meter(step, steps)
    if console.is_terminal:
        with _bar(console, name, meter) as show:
            yield show
    else:
        yield _lines(meter)


@contextmanager
def _bar(console: "Console", name: str, meter: Meter) -> Iterator[Show]:
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    text = TextColumn("{task.fields[figures]}")
    columns = (TextColumn("[bold]{task.description}"), BarColumn(None), MofNCompleteColumn(), text)
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(escape(name), completed=meter.step, total=meter.steps, figures="")
        score = ""

        def show(event: Event) -> None:
            nonlocal score
            if isinstance(event, StepDone):
                meter.add(event)
                figures = [
                    f"{meter.name} {meter.mean:.3f}",
                    *_speed(event),
                    score,
                    f"{duration(meter.seconds_left)} left",
                ]
                progress.update(task, completed=event.step, figures="  ".join(filter(None, figures)))
                return
            if isinstance(event, EvalDone):
                score = "{} {:.3f}".format(*next(iter(event.metrics.items())))
            if line := _line(event):
                progress.print(f"[dim]{escape(line)}[/]")

        yield show


def _lines(meter: Meter) -> Show:
    def show(event: Event) -> None:
        if isinstance(event, StepDone):
            meter.add(event)
            if event.step % STEPS_BETWEEN_LINES and event.step < meter.steps:
                return
            figures = [
                f"{meter.name} {meter.mean:.4f}",
                *_speed(event),
                f"{duration(meter.seconds_left)} left",
            ]
            line = f"step {event.step}/{meter.steps}  {'  '.join(figures)}"
        else:
            line = _line(event)
        if line:
            print(line, flush=True)

    return show


def _line(event: Event) -> str:
    """Return what is to be told of an event that is not a step."""
    if isinstance(event, EvalDone):
        scores = "  ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
        return f"step {event.step}  {scores}"
    if isinstance(event, SampleDone):
        return f"step {event.step}  {event.prompt!r} -> {event.text!r}"
    if isinstance(event, Saved):
        return f"step {event.step}  saved {event.path}"
    if isinstance(event, Paused):
        return f"step {event.step}  paused"
    return ""


def _speed(event: StepDone) -> list[str]:
    if "generated_per_second" in event.stats:
        return [f"{event.stats['generated_per_second']:,.0f} generated tok/s"]
    mfu = [] if event.mfu is None else [f"MFU {event.mfu:.0%}"]
    return [f"{event.tokens_per_second:,.0f} tok/s", *mfu]


def duration(seconds: float) -> str:
    """Return a time as people write it.

    >>> duration(3.2), duration(61), duration(7322)
    ('0:03', '1:01', '2:02:02')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
