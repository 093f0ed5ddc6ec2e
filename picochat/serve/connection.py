"""uvicorn, with limits on how long a client may take, and a plain end.

By itself uvicorn waits for ever for the rest of a request's head and for a client to read its answer, and it
raises the signal that ended it once more.
"""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 512
MAX_HEAD_BYTES = 16 * 1024
HEAD_SECONDS = 10.0
"""From the first byte of a request (or the connection) to the end of its headers."""
UNREAD_SECONDS = 30.0
"""How long a client may leave what was sent unread."""


def server_config(app: Any, *, drain: int | None = None) -> uvicorn.Config:
    """Return how a server runs; `drain` are the seconds that running answers get at its end."""
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_graceful_shutdown=drain,
    )


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

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal. From the second SIGINT on no connection is waited for."""
        super().handle_exit(sig, frame)
        if self.force_exit:
            for connection in list(self.server_state.connections):
                connection.loop.call_soon_threadsafe(connection.transport.abort)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let the two signals end the server, while it runs; only a main thread gets any."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        names = (signal.SIGINT, signal.SIGTERM)
        before = {name: signal.signal(name, self.handle_exit) for name in names}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)
