"""Questions to a run in training that are asked once, however often the answer is drawn."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from picochat.train.controller import Controller
from picochat.train.run import Run

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Asked(Generic[K, T]):
    """The latest question to the worker of a controller, and its answer.

    A view is drawn again at every piece of news; what it shows may cost seconds to find out. So it is found
    out anew only where something else is wanted: another step, another text.
    """

    def __init__(self, controller: Controller, find: Callable[[Run, K], T]) -> None:
        """find: called on the worker, between two steps, with the key that is asked for."""
        self._controller, self._find = controller, find
        self._lock = threading.Lock()
        self._latest: tuple[K, Future[T]] | None = None

    def ask(self, key: K) -> "Future[T]":
        """Return the answer to `key`: the latest one, there or on its way, if that was the question.

        What could not be answered is asked again: the cause may be mended.
        """
        with self._lock:
            if self._latest is None or self._latest[0] != key or has_failed(self._latest[1]):
                self._latest = key, self._controller.call(lambda run: self._find(run, key))
            return self._latest[1]


def has_failed(answer: "Future[Any]") -> bool:
    """Whether there will be no answer but an error."""
    return answer.done() and (answer.cancelled() or answer.exception() is not None)
