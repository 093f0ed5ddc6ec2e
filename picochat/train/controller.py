"""Drives a run from another thread than the one that watches it. Step, run, pause, reset: none waits.

A page stays alive while a model trains only if its own thread never trains. So one worker thread owns the
run, and everything that touches the model is done by it, between two steps.
"""

import math
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from picochat.model.config import ModelConfig
from picochat.train.desk import ControllerState, Desk, NoRunError
from picochat.train.events import Event
from picochat.train.history import History
from picochat.train.run import Run
from picochat.train.run_dir import RunDir

__all__ = ["Controller", "ControllerState", "NoRunError", "attach", "replace"]

T = TypeVar("T")


class Controller:
    """Commands for a run that a worker thread owns. None of them waits; what comes of it shows in `version`.

    An error shows as the state "failed" with `error`; the next `step` or `run` goes on from where it was, for
    a step that failed left nothing changed. When the controller is closed or forgotten, or the process ends,
    the run is saved if it made a step since its last checkpoint. A run that never made one leaves no folder.
    """

    def __init__(self, build: Callable[[], Run]) -> None:
        """build: makes the run, on the worker; called again by `reset`, however much later."""
        self._desk = Desk(build)
        # The worker knows the desk only, so that a controller which nobody holds any more can be collected.
        weakref.finalize(self, self._desk.ask_to_close)

    def step(self, n: int = 1) -> None:
        """Make n more steps."""
        self._desk.go(n)

    def run(self) -> None:
        """Make steps until the end, or until told otherwise."""
        self._desk.go(math.inf)

    def pause(self) -> None:
        """Make no step after the one that is being made."""
        self._desk.pause()

    def hold(self, seconds: float) -> None:
        """Begin no step for so long: the processors are wanted for something that somebody waits for.

        One step is made between two holds, so the run never stands still.
        """
        self._desk.hold(seconds)

    def reset(self) -> None:
        """Leave the run, saved, and build another."""
        self._desk.pause()
        self._desk.submit(self._desk.rebuild)

    def save(self) -> "Future[Event | None]":
        """Save a checkpoint; after the end of the run, tell of the one that it left."""
        return self._desk.submit(lambda: self._desk.told(Run.save))

    def change(
        self, *, lr_scale: float | None = None, batch_size: int | None = None
    ) -> "Future[Event | None]":
        """Change the learning rate (a factor on all) or the batch size of the steps that follow."""
        return self._desk.submit(
            lambda: self._desk.told(lambda run: run.change(lr_scale=lr_scale, batch_size=batch_size))
        )

    def call(self, fn: Callable[[Run], T]) -> "Future[T]":
        """Let the worker do something with the run between two steps. It is no news: `version` stays."""
        return self._desk.submit(lambda: fn(self._desk.open_run()))

    def close(self) -> None:
        """End the worker, soon; the run is saved. Commands that come later have no effect."""
        self._desk.close()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the worker to end after `close`."""
        self._desk.thread.join(timeout)

    @property
    def state(self) -> ControllerState:
        """What the worker is doing."""
        return self._desk.state

    @property
    def is_pausing(self) -> bool:
        """Whether it will be paused as soon as the step that is being made is done."""
        return self._desk.is_pausing

    @property
    def is_first_step(self) -> bool:
        """Whether the step that is being made is the first one here, which prepares what the others use."""
        return self._desk.state == "running" and self._desk.steps_made == 0

    @property
    def doing(self) -> str:
        """What takes long while the run is built, as it was told by `tell`."""
        return self._desk.doing

    @property
    def tell(self) -> Callable[[str], None]:
        """Takes what takes long, for who builds the run. It does not hold the controller."""
        return self._desk.tell

    @property
    def error(self) -> BaseException | None:
        """What went wrong with the last command, if something did."""
        return self._desk.error

    @property
    def version(self) -> int:
        """A number that grows with every event and every change of state."""
        return self._desk.version

    def wait(self, version: int, timeout: float) -> int:
        """Wait until the version is not `version`, or `timeout` seconds; return the version then."""
        return self._desk.wait(version, timeout)

    @property
    def history(self) -> History:
        """What happened in the run so far, before it was resumed too."""
        return self._desk.history

    @property
    def directory(self) -> RunDir | None:
        """The folder of the run, once it is built."""
        run = self._desk.run
        return None if run is None else run.directory

    @property
    def notes(self) -> list[str]:
        """What the user should know about the run, a line each."""
        run = self._desk.run
        return [] if run is None else list(run.notes)

    @property
    def seconds_left(self) -> float | None:
        """About how long the steps that are left will take, once a few were made."""
        step, steps = self.progress
        return self.history.seconds_left(steps - step)

    @property
    def model_config(self) -> ModelConfig | None:
        """The shape of the model, once it is built."""
        run = self._desk.run
        return None if run is None else run.model.config

    @property
    def progress(self) -> tuple[int, int]:
        """Steps made, and steps of the whole run."""
        run = self._desk.run
        return (0, 0) if run is None else (run.trainer.step, run.trainer.steps)

    @property
    def is_closed(self) -> bool:
        """Whether the worker has ended or is about to."""
        return self._desk.is_closing


_controllers: dict[str, Controller] = {}
_lock = threading.Lock()


def attach(key: str, make: Callable[[], Controller]) -> Controller:
    """Return the controller that this process has under `key`; made if there is none, or if it was closed.

    A page that is loaded again finds its run so, still training.
    """
    with _lock:
        controller = _controllers.get(key)
        if controller is None or controller.is_closed:
            controller = _controllers[key] = make()
        return controller


def replace(key: str, make: Callable[[], Controller]) -> Controller:
    """Put a new controller under `key` and close the one that was there."""
    with _lock:
        if (old := _controllers.pop(key, None)) is not None:
            old.close()
        _controllers[key] = controller = make()
        return controller
