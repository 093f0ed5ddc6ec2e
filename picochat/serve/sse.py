"""Responses that end with their client: server-sent events, and JSON that takes a while."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"


def to_json(value: Any) -> bytes:
    """Return strict JSON in ASCII: any text, lone surrogates and U+2028 too, fits into one line."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


def to_events(chunks: Iterable[Any]) -> bytes:
    """Return JSON values as server-sent events."""
    return b"".join(b"data: %b\n\n" % to_json(chunk) for chunk in chunks)


class JsonResponse(Response):
    """A JSON value."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return to_json(content)


async def gone(receive: Receive) -> None:
    """Return when the client has gone away. The body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do `work`; give it up at once when the client goes away."""
    tasks = {asyncio.create_task(work), asyncio.create_task(gone(receive))}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Late:
    """A response that is written once its answer is there; nothing is written to a client that has gone."""

    def __init__(self, answer: Callable[[], Awaitable[Response]], give_up: Callable[[], None]) -> None:
        self._answer = answer
        self._give_up = give_up

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer (ASGI)."""

        async def work() -> None:
            response = await self._answer()
            await response(scope, receive, send)

        try:
            await unless_gone(receive, work())
        finally:
            self._give_up()


class EventStream:
    """A stream of server-sent events. `pieces` yields bytes; all that is there is sent at once."""

    def __init__(self, pieces: AsyncIterator[bytes], give_up: Callable[[], None]) -> None:
        self._pieces = pieces
        self._give_up = give_up

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer (ASGI)."""
        try:
            await unless_gone(receive, self._write(send))
        finally:
            self._give_up()

    async def _write(self, send: Send) -> None:
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": DONE, "more_body": False})
