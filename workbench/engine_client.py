"""The model's process, seen from the app."""

import asyncio
import os
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import count

from picochat.engine.protocol import (
    Cancel,
    Failed,
    Finished,
    Loaded,
    Predicted,
    Reply,
    Request,
    Scored,
    decode_reply,
    encode,
)

COMMAND = (sys.executable, "-m", "picochat.engine.worker")
LAST_LINES = 12
LONGEST_LINE = 2**26


@dataclass(frozen=True)
class Crashed:
    """The process has ended without being asked to."""

    code: int
    lines: tuple[str, ...]
    """The last ones it wrote to standard error."""


class EngineClient:
    """Starts the process with the first request, and again after a crash."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Queue[Reply | Crashed]] = {}
        self._ids = count(1)

    def twin(self) -> "EngineClient":
        """Return a client for another process of the same kind."""
        return EngineClient(self._command)

    def new_id(self) -> int:
        """Return an id for a request."""
        return next(self._ids)

    async def stream(self, request: Request) -> AsyncIterator[Reply | Crashed]:
        """Send a request and yield its replies; the last is no `Tokens`."""
        queue: asyncio.Queue[Reply | Crashed] = asyncio.Queue()
        self._waiting[request.id] = queue
        try:
            await self._send(request)
            while True:
                reply = await queue.get()
                yield reply
                if isinstance(reply, Loaded | Finished | Predicted | Scored | Failed | Crashed):
                    return
        finally:
            self._waiting.pop(request.id, None)

    async def ask(self, request: Request) -> Reply | Crashed:
        """Send a request that has one reply, and return it."""
        return [reply async for reply in self.stream(request)][-1]

    def cancel(self, target: int) -> None:
        """End a generation; its `Finished` follows within a token."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(encode(Cancel(id=self.new_id(), target=target)))

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        self._waiting.clear()
        if process.returncode is None:
            process.kill()
        assert self._reader is not None
        await self._reader

    async def _send(self, request: Request) -> None:
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                limit=LONGEST_LINE,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
            self._reader = asyncio.create_task(self._read(self._process))
        assert self._process.stdin is not None
        self._process.stdin.write(encode(request))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Hand replies to whoever waits for them, until the process ends."""
        assert process.stdout is not None
        assert process.stderr is not None
        last: deque[str] = deque(maxlen=LAST_LINES)
        errors = asyncio.create_task(_keep_lines(process.stderr, last))
        async for line in process.stdout:
            reply = decode_reply(line)
            if reply.id in self._waiting:
                self._waiting[reply.id].put_nowait(reply)
        code = await process.wait()
        await errors
        self._process = None
        for queue in self._waiting.values():
            queue.put_nowait(Crashed(code, tuple(last)))


async def _keep_lines(stream: asyncio.StreamReader, last: deque[str]) -> None:
    async for line in stream:
        last.append(line.decode(errors="replace").rstrip())
