"""uvicorn, with limits on how long a client may take, and a plain end.

By itself uvicorn waits for ever for the rest of a request's head and for a client to read its answer, and it
raises the signal that ended it once more.
"""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
"""From the first byte of a request (or the connection) to the end of its headers."""
UNREAD_SECONDS = 30.0
"""How long a client may leave what was sent unread."""


class Connection(H11Protocol):
    """One connection."""

    _head_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Begin to wait for a request."""
        super().connection_made(transport)
        # Whatever the system does not take at once counts as unread.
        transport.set_write_buffer_limits(high=0)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        super().data_received(data)
        self._watch_head()

    def pause_writing(self) -> None:
        """The client does not keep up."""
        super().pause_writing()
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        self._unread_timer = _stop(self._unread_timer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self._head_timer, self._unread_timer = _stop(self._head_timer), _stop(self._unread_timer)
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        """Let the timer run while a request has begun but its headers are not complete."""
        has_request = self.cycle is not None and not self.cycle.response_complete
        if has_request:
            self._head_timer = _stop(self._head_timer)
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._head_timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


class HttpServer(uvicorn.Server):
    """A server whose `run` returns after SIGINT or SIGTERM, when the answers that run are complete; after a
    second SIGINT at once. `on_start` is called when it listens."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self._on_start()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let the two signals end the server, while it runs."""
        names = (signal.SIGINT, signal.SIGTERM)
        before = {name: signal.signal(name, self.handle_exit) for name in names}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)
