"""The thread that decodes: takes requests from the event loop, and gives their events back to it.

A `Ticket` is one request. The event loop submits and cancels it, and waits for its events; the thread steps
one `ContinuousBatch` per model in turn, and hands over what a step brought in a single call into the loop.
"""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterable, Sequence

from picochat.engine.continuous import ContinuousBatch, Happened
from picochat.engine.decode import Row
from picochat.engine.events import Done, Event
from picochat.serve.errors import ApiError
from picochat.serve.metrics import Metrics
from picochat.serve.models import Served

log = logging.getLogger("picochat.serve")

RETRY_SECONDS = 2
MAX_UNREAD = 4096
"""Events that wait for a client who does not read them; then its answers are given up."""


class Ticket:
    """The answers to one request while they are written. Belongs to the event loop."""

    def __init__(self, model: str, rows: Sequence[Row]) -> None:
        self.model = model
        self.rows = list(rows)
        self.num_open = len(rows)
        """Rows that are not over."""
        self.began = time.perf_counter()
        self._events: list[tuple[int, Event]] = []
        self._error: Exception | None = None
        self._ready = asyncio.Event()

    def push(self, events: Iterable[tuple[int, Event]]) -> bool:
        """Take events of rows, by their index; return whether the client keeps up."""
        if self._error is None:
            self._events += events
            self._ready.set()
            if len(self._events) > MAX_UNREAD:
                self._events = []
                self.fail(ApiError(400, "client_too_slow", "the answer was not read in time"))
        return self._error is None

    def fail(self, error: Exception) -> None:
        """End with an error."""
        self._error = error
        self._ready.set()

    async def events(self, seconds: float, pulse: float) -> AsyncIterator[list[tuple[int, Event]]]:
        """Yield what came since the last time, until every row is done; nothing, after `pulse` seconds of it.

        Raises ApiError when it took more than `seconds` since the request came, and what it was failed with.
        """
        while self.num_open:
            left = self.began + seconds - time.perf_counter()
            try:
                async with asyncio.timeout(min(left, pulse)):
                    await self._ready.wait()
            except TimeoutError:
                if left <= pulse:
                    message = f"the answer was not complete within {seconds:g} seconds"
                    raise ApiError(504, "timeout", message) from None
            self._ready.clear()
            if self._error is not None:
                raise self._error
            events, self._events = self._events, []
            self.num_open -= sum(isinstance(event, Done) for _, event in events)
            yield events


class Batcher:
    """Owns the decode thread."""

    def __init__(
        self, models: dict[str, Served], *, metrics: Metrics, max_rows: int, max_waiting: int
    ) -> None:
        self.capacity = max_rows + max_waiting
        self.metrics = metrics
        self.has_died = False
        self._batches = {
            name: ContinuousBatch(model.engine, max_rows=max_rows) for name, model in models.items()
        }
        # What follows is shared by the threads, under the condition.
        self._changed = threading.Condition()
        self._num_rows = dict.fromkeys(models, 0)
        self._submitted: list[Ticket] = []
        self._cancelled: list[Ticket] = []
        self._is_closing = False
        # What follows belongs to the decode thread.
        self._tickets: dict[Row, tuple[Ticket, int]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="picochat-decode", daemon=True)

    def start(self) -> None:
        """Begin to decode for the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def close(self) -> None:
        """End the thread before its next step, and wait for it. Answers that are not complete stay so."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def num_active(self) -> int:
        """Rows that decode."""
        return sum(batch.num_active for batch in self._batches.values())

    @property
    def num_waiting(self) -> int:
        """Rows that wait for a place."""
        return max(0, sum(self._num_rows.values()) - self.num_active)

    @property
    def cache_bytes(self) -> int:
        """Memory of all caches."""
        return sum(batch.num_bytes for batch in self._batches.values())

    def check_any_room(self) -> None:
        """Raise ApiError if no row is taken now, of whatever model."""
        self.check_room(min(self._num_rows, key=lambda model: self._num_rows[model]))

    def check_room(self, model: str, num_rows: int = 1) -> None:
        """Raise ApiError if no more rows are taken for this model now."""
        if self.has_died:
            raise _dead()
        if self._num_rows[model] + num_rows > self.capacity:
            self.metrics.num_rejected += 1
            raise ApiError(
                503,
                "queue_full",
                "too many requests are waiting; try again soon",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )

    def submit(self, ticket: Ticket) -> None:
        """Let a request take part. Raises ApiError if the queue is full."""
        with self._changed:
            self.check_room(ticket.model, len(ticket.rows))
            self._num_rows[ticket.model] += len(ticket.rows)
            self._submitted.append(ticket)
            self._changed.notify()

    def cancel(self, ticket: Ticket) -> None:
        """Give up what is not complete of a request, before the next step."""
        if not ticket.num_open:
            return
        with self._changed:
            self._cancelled.append(ticket)
            self._changed.notify()

    # The decode thread

    def _run(self) -> None:
        try:
            while self._take_in():
                self._step()
        finally:
            if sys.exception() is not None:
                self._tell_of_death()

    def _tell_of_death(self) -> None:
        """Tell those who wait for this thread; what ended it is for `threading.excepthook`."""
        log.critical("the decoder has died")
        with self._changed:
            self.has_died = True
            tickets = {ticket for ticket, _ in self._tickets.values()} | set(self._submitted)
        self._tickets.clear()
        for ticket in tickets:
            self._call(ticket.fail, _dead())

    def _take_in(self) -> bool:
        """Wait for work; take what was submitted and cancelled. Return whether to go on."""
        with self._changed:
            while not (self._submitted or self._cancelled or self._tickets or self._is_closing):
                self._changed.wait()
            submitted, self._submitted = self._submitted, []
            cancelled, self._cancelled = self._cancelled, []
            if self._is_closing:
                return False
        for ticket in submitted:
            for index, row in enumerate(ticket.rows):
                self._tickets[row] = (ticket, index)
                self._batches[ticket.model].add(row)
        for ticket in cancelled:
            open_rows = [row for row in ticket.rows if row in self._tickets]
            self.metrics.num_cancelled += len(open_rows)
            self._hand_over(self._batches[ticket.model].cancel(open_rows))
        return True

    def _step(self) -> None:
        for batch in self._batches.values():
            if batch.is_idle:
                continue
            began = time.perf_counter()
            happened = batch.step()
            self.metrics.step_seconds.observe(time.perf_counter() - began)
            self.metrics.num_steps += 1
            self._hand_over(happened)

    def _hand_over(self, happened: Happened) -> None:
        """Give events to their tickets, and forget the rows that are done."""
        news: list[tuple[Ticket, list[tuple[int, Event]]]] = []
        finished: list[str] = []
        for row, events in happened:
            ticket, index = self._tickets[row]
            if events:
                news.append((ticket, [(index, event) for event in events]))
            if row.state.finish_reason:
                del self._tickets[row]
                finished.append(ticket.model)
                self.metrics.num_tokens += row.state.num_sampled
        if finished:
            with self._changed:
                for model in finished:
                    self._num_rows[model] -= 1
        if news:
            self._call(self._push, news)

    def _push(self, news: list[tuple[Ticket, list[tuple[int, Event]]]]) -> None:
        """Give events to their tickets, in the event loop."""
        for ticket, events in news:
            if not ticket.push(events):
                self.cancel(ticket)

    def _call(self, function, *args) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            # The loop was closed under us: a second Ctrl-C. Nobody is left to tell.
            log.debug("the event loop is closed")


def _dead() -> ApiError:
    return ApiError(500, "decoder_died", "the decoder has died; the server's log says why")
