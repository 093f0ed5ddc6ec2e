"""Questions to a run in training whose answers are shown when they are there, and never waited for."""

import contextlib
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future, TimeoutError
from typing import Generic, TypeVar

from picochat.train.controller import Controller
from picochat.train.run import Run

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

PATIENCE = 0.15
"""Seconds that a page can wait without being noticed."""


class Asked(Generic[K, T]):
    """What the worker of a controller found out last.

    A view that waited for the worker would stand still for a whole step. This one shows the latest answer,
    asks anew when something else is wanted, and is drawn again when the answer comes: it counts as news.
    """

    def __init__(
        self, controller: Controller, find: Callable[[Run, K], T], *, patience: float | None = PATIENCE
    ) -> None:
        """find: called on the worker, between two steps, with the key that was asked for.

        patience: seconds that `get` waits for the answer; None as long as it takes.
        """
        self._controller, self._find, self._patience = controller, find, patience
        self._lock = threading.Lock()
        self._pending: tuple[K, Future[T]] | None = None
        self._found: tuple[K, T | BaseException] | None = None

    def get(self, key: K) -> T | None:
        """Return the newest answer, which may be that to an earlier key; None if there is none yet.

        Raises what `find` raised, if that was its answer to this key.
        """
        with self._lock:
            self._take()
            if self._pending is None and (self._found is None or self._found[0] != key):
                # Asked for while another question is open, it is asked when the view is drawn again.
                self._pending = key, self._controller.call(lambda run: self._find(run, key), is_news=True)
                self._wait()
                self._take()
            if self._found is None:
                return None
            found_key, found = self._found
        if not isinstance(found, BaseException):
            return found
        if found_key == key:
            raise found
        return None

    @property
    def is_waiting(self) -> bool:
        """Whether a newer answer is on its way."""
        with self._lock:
            return self._pending is not None and not self._pending[1].done()

    def _wait(self) -> None:
        assert self._pending is not None
        with contextlib.suppress(TimeoutError, CancelledError):
            self._pending[1].exception(self._patience)

    def _take(self) -> None:
        """Take the answer that has come, if it has. A question that nobody will answer is dropped."""
        if self._pending is None or not self._pending[1].done():
            return
        key, future = self._pending
        self._pending = None
        if not future.cancelled():
            error = future.exception()
            self._found = key, future.result() if error is None else error
