"""Work on a thread of its own that can be watched and stopped: for pages that must answer while it runs.

A watcher keeps the `version` it saw and waits for another one, as with a run's controller.
"""

import atexit
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

T = TypeVar("T")
State = Literal["idle", "working", "stopped", "finished", "failed"]


class Stopped(Exception):
    """Raised inside of work that is to end: out of `publish`."""


class Background(Generic[T]):
    """One piece of work at a time.

    state: where it stands; value: what was published last; error: why it failed.
    """

    def __init__(self) -> None:
        self.state: State = "idle"
        self.value: T | None = None
        self.error: Exception | None = None
        self.version = 0
        self._changed = threading.Condition(threading.RLock())
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    is_closed = False
    """More work may always come: who watches goes on watching."""

    def start(self, work: Callable[[Callable[[T], None]], None]) -> None:
        """Begin `work(publish)`; work that still runs is stopped first. Does not wait.

        `publish` keeps a value for whoever watches, and ends the work by `Stopped` where that was asked for.
        """
        with self._changed:
            before = self._thread
            self._stop.set()
            self._stop = threading.Event()
            self.value, self.error = None, None
            # The thread must not keep this object alive: dropped by its last user, the work ends.
            arguments = (weakref.ref(self), self._stop, work, before)
            self._thread = threading.Thread(target=_work, args=arguments, daemon=True)
            _threads.add(self._thread)
            _stops.add(self._stop)
            self._set("working")
            self._thread.start()

    def stop(self) -> None:
        """Ask the work to end. Does not wait."""
        self._stop.set()

    def join(self) -> None:
        """Wait for the end of the work."""
        if self._thread is not None:
            self._thread.join()

    def wait(self, version: int, timeout: float) -> int:
        """Return the version as soon as it is another one, or after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.version != version, timeout)
            return self.version

    def _publish(self, stop: threading.Event, value: T) -> None:
        with self._changed:
            if stop.is_set():
                raise Stopped
            self.value = value
            self._set(self.state)

    def _end(self, stop: threading.Event, state: State, error: Exception | None = None) -> None:
        with self._changed:
            if stop is self._stop:  # else newer work has begun, and the state is its own
                self.error = error
                self._set(state)

    def _set(self, state: State) -> None:
        with self._changed:
            self.state = state
            self.version += 1
            self._changed.notify_all()


def _work(
    owner: "weakref.ref[Background[Any]]",
    stop: threading.Event,
    work: Callable[[Callable[[Any], None]], None],
    before: threading.Thread | None,
) -> None:
    if before is not None:
        before.join()

    def publish(value: Any) -> None:
        background = owner()
        if background is None:
            raise Stopped
        background._publish(stop, value)

    error: Exception | None = None
    state: State = "finished"
    try:
        if stop.is_set():
            raise Stopped
        work(publish)
    except Stopped:
        state = "stopped"
    except Exception as caught:  # whatever it is, the watcher shows it
        state, error = "failed", caught
    if (background := owner()) is not None:
        background._end(stop, state, error)


_shared: dict[str, Background[Any]] = {}
_shared_lock = threading.Lock()


def shared(key: str) -> Background[Any]:
    """Return the work that this process has under `key`: a page that is loaded again finds it there."""
    with _shared_lock:
        return _shared.setdefault(key, Background())


_threads: "weakref.WeakSet[threading.Thread]" = weakref.WeakSet()
_stops: "weakref.WeakSet[threading.Event]" = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    # A thread inside torch while the interpreter ends aborts the process.
    for stop in list(_stops):
        stop.set()
    for thread in list(_threads):
        thread.join()
