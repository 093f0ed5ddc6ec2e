"""Where a controller leaves its commands, and what the worker does with them."""

import atexit
import math
import os
import shutil
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Literal, TypeVar

from picochat.errors import UserError
from picochat.train.events import Event, StepDone
from picochat.train.history import History
from picochat.train.run import Run

ControllerState = Literal["building", "paused", "running", "finished", "failed"]

IDLE_SECONDS = 0.25
"""How often a worker without work looks for commands from other processes, and for its end."""

NICENESS = 10

T = TypeVar("T")


class NoRunError(RuntimeError):
    """Something was asked of a run that could not be built."""


class Desk:
    """Commands on one side, the run on the other. Only the worker touches the run.

    Everything that both sides change is changed under `_condition`.
    """

    def __init__(self, build: Callable[[], Run]) -> None:
        self._build = build
        self._condition = threading.Condition()
        self._tasks: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._budget = 0.0
        """Steps that are still to be made."""
        self._is_over = False
        """Whether the run came to its end."""
        self._held_until = -math.inf
        self._held_before = -1
        """The step that the last hold was before."""
        self.state: ControllerState = "building"
        self.error: BaseException | None = None
        self.version = 0
        self.run: Run | None = None
        self.history = History()
        self.is_closing = False
        self.is_pausing = False
        """Whether a pause was asked for while a step is being made."""
        self.steps_made = 0
        """Steps of the run that this worker made."""
        self.doing = ""
        """What takes long while the run is built."""
        self.thread = threading.Thread(target=self._work, name="picochat-run", daemon=True)
        self.submit(self._open)
        _desks.add(self)
        self.thread.start()

    # What commands do; any thread.

    def go(self, steps: float) -> None:
        """Add to the steps that are to be made."""
        with self._condition:
            self._budget += steps
            self.error, self.is_pausing = None, False
            if self.state == "failed":
                self.submit(self._open if self.run is None else self._retry)
            elif self.state == "paused":
                self._set_state("running")
            self._condition.notify_all()

    def pause(self) -> None:
        """Take back all steps that are not being made yet."""
        with self._condition:
            self._budget = 0.0
            if self.state == "running" and not self.is_pausing:
                self.is_pausing = True
                self._bump()

    def hold(self, seconds: float) -> None:
        """Begin no step for so long. Between two holds one step is made, however often it is asked for."""
        with self._condition:
            if self._held_before != self.steps_made:
                self._held_before = self.steps_made
                self._held_until = time.monotonic() + seconds

    def tell(self, doing: str) -> None:
        """Say what takes long while the run is built."""
        with self._condition:
            if doing != self.doing:
                self.doing = doing
                self._bump()

    def submit(self, do: Callable[[], T]) -> "Future[T]":
        """Queue something for the worker to do between two steps."""
        future: Future[T] = Future()
        with self._condition:
            if self.is_closing:
                future.cancel()
                return future
            self._tasks.append((do, future))
            self._condition.notify_all()
        return future

    def ask_to_close(self) -> None:
        """Let the worker end. Takes no lock: the garbage collector calls it at any moment, in any thread."""
        self.is_closing = True

    def close(self) -> None:
        """Let the worker end at once if it has nothing to do."""
        self.ask_to_close()
        with self._condition:
            self._condition.notify_all()

    def wait(self, version: int, timeout: float) -> int:
        """Wait until the version is another."""
        with self._condition:
            self._condition.wait_for(lambda: self.version != version, timeout)
            return self.version

    # What the worker does.

    def _work(self) -> None:
        """Do what is asked for until the desk is closed; then save the run and let it go."""
        _stand_back()
        while not self.is_closing:
            try:
                self._do_next()
            except Exception as error:
                with self._condition:
                    self._budget, self.error = 0.0, error
                self._set_state("failed")
        try:
            self._leave()
        except Exception as error:
            self.error = error
        with self._condition:
            while self._tasks:
                self._tasks.popleft()[1].cancel()
        self._set_state("failed" if self.error else "finished")

    def open_run(self) -> Run:
        """Return the run; NoRunError if it could not be built."""
        if self.run is None:
            raise NoRunError("there is no run") from self.error
        return self.run

    def told(self, do: Callable[[Run], Event | None]) -> Event | None:
        """Do something with the run and tell what came of it."""
        run = self.open_run()
        try:
            event = do(run)
        except Exception as error:
            self._publish(error=error)
            raise
        self._publish(event)
        return event

    def rebuild(self) -> None:
        """Leave the run and build the next."""
        self._leave()
        self._open()

    def _do_next(self) -> None:
        """Do one thing: a task, what is due besides steps, a step; or wait a little."""
        with self._condition:
            task = self._tasks.popleft() if self._tasks else None
            if task is None and self._is_over:
                # Asked of a run that has no more steps. Where the next run is to be built, they are for that.
                self._budget = 0.0
        if task is not None:
            self._do_task(*task)
            return
        if self.run is not None and self.state != "failed" and not self._is_over:
            event = self.run.catch_up()
            if event is not None:
                self._publish(event)
                return
            if self._is_held():
                return
            if self._claim_step(self.run):
                self._set_state("running")
                self._make_step(self.run)
                return
        self._idle()

    def _do_task(self, do: Callable[[], Any], future: "Future[Any]") -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(do())
        except Exception as error:
            future.set_exception(error)
            if do in (self._open, self.rebuild):
                raise

    def _is_held(self) -> bool:
        """Whether a step is to wait; then wait, until something else is to be done."""
        with self._condition:
            left = self._held_until - time.monotonic()
            if self._budget < 1 or left <= 0:
                return False
            if not (self._tasks or self.is_closing):
                self._condition.wait(left)
            return True

    def _claim_step(self, run: Run) -> bool:
        """Take one of the steps that are to be made.

        Before it is made: taken off afterwards, it would undo a pause that came meanwhile.
        """
        with self._condition:
            if self._budget < 1:
                # The end is told without being asked for.
                return run.trainer.step >= run.trainer.steps or "stop" in run.wants
            self._budget -= 1
            return True

    def _make_step(self, run: Run) -> None:
        run.wants.discard("pause")
        for event in run:
            self._publish(event)
            if "pause" in run.wants:  # as control.json said
                self.pause()
            if isinstance(event, StepDone):
                self.steps_made += 1
                return
        self._is_over = True

    def _idle(self) -> None:
        run = self.run
        if run is None:
            self._set_state("failed")
        elif self._is_over:
            self._set_state("finished")
        elif self.state != "failed":
            self._set_state("paused")
        if run is not None and not self._is_over:
            run.wants.add("pause")
            if (event := run.rest()) is not None:
                self._publish(event)
            if "pause" not in run.wants:  # as control.json said
                self.go(math.inf)
        with self._condition:
            if not (self._tasks or self._budget >= 1 or self.is_closing):
                self._condition.wait(IDLE_SECONDS)

    def _open(self) -> None:
        """Build the run, after those whose worker was asked to end are let go of: it may be one of them.

        It may have been asked for twice.
        """
        if self.run is not None:
            return
        self._set_state("building")
        for desk in list(_desks):
            while desk.is_closing and desk.thread.is_alive() and not self.is_closing:
                desk.thread.join(IDLE_SECONDS)
        run = self._build()
        run.waits = False
        history = History.of(run.directory, until=run.trainer.step)
        with self._condition:
            self.run, self.history, self._is_over = run, history, False
            self.error, self.steps_made, self.doing = None, 0, ""

    def _retry(self) -> None:
        """Go on with a run whose last step failed."""
        self.open_run().retry()
        self._set_state("running")

    def _leave(self) -> None:
        """Save the run and let it go; a new one that never made a step leaves no folder."""
        run = self.run
        if run is None:
            return
        if run.trainer.step == 0 and not run.options.resume:
            run.close()
            shutil.rmtree(run.directory.path)
        elif not self._is_over and run.trainer.is_sound:
            try:
                for event in run.stop():
                    self._publish(event)
            except UserError as error:
                if run.trainer.is_sound:
                    raise
                # Spoiled weights can not be saved, now or later: the checkpoint before is what there is.
                self._publish(error=error)
        run.close()
        self.run = None

    def _set_state(self, state: ControllerState) -> None:
        with self._condition:
            if state != self.state:
                self.state = state
                self.is_pausing = False
                self._bump()

    def _publish(self, event: Event | None = None, *, error: BaseException | None = None) -> None:
        with self._condition:
            if event is not None:
                self.history.add(event)
            if error is not None:
                self.error = error
            self._bump()

    def _bump(self) -> None:
        self.version += 1
        self._condition.notify_all()


def _stand_back() -> None:
    """Let the threads that answer the user, and the browser, go first where cores are few.

    On Linux threads have niceness of their own, and the pools of threads that a thread begins inherit it;
    elsewhere it is the whole process's, which would help nobody.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


_desks: "weakref.WeakSet[Desk]" = weakref.WeakSet()


def close_all() -> None:
    """Close all desks of this process and wait for their workers.

    A thread that is inside torch when the interpreter goes would take the process down with an abort.
    """
    desks = list(_desks)
    for desk in desks:
        desk.close()
    for desk in desks:
        desk.thread.join()


atexit.register(close_all)
