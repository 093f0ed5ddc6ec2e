"""Runs and controllers, driven and waited for."""

import threading
import time
from collections.abc import Callable
from typing import Any

from picochat.train.controller import Controller
from picochat.train.run import Run
from picochat.train.run_dir import RunDir

LONG = 20.0
"""Seconds after which something that should have happened never will."""

Control = Callable[..., Controller]


def until(condition: Callable[[], Any], what: str = "") -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, what or "it never happened"
        time.sleep(0.002)


def rest(controller: Controller) -> None:
    """Wait until the controller has done what it was told."""
    controller.call(lambda run: None).exception(LONG)
    until(lambda: controller.state in ("paused", "finished", "failed"))


def steps_of(controller: Controller) -> list[int]:
    return [event.step for event in controller.history.steps()]


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "picochat-run"]


def slow_down(run: Run, seconds: float = 0.02) -> Run:
    """Let every step of the run take at least that long."""
    loss = run.trainer.loss

    class Slow:
        weight = staticmethod(loss.weight)

        def __call__(self, model, batch):
            time.sleep(seconds)
            return loss(model, batch)

    run.trainer.loss = Slow()
    return run


def finish(run: Run) -> list[str]:
    return [f"{event.event} {event.step}" for event in run]


def lines_of(directory: RunDir, name: str) -> list[str]:
    return (directory.path / name).read_text(encoding="utf-8").splitlines()
