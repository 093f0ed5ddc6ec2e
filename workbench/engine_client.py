"""The model's process, seen from the app."""

import asyncio
import os
import subprocess
import sys
import time
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
LAST_LINES = 200
"""Of what the process writes to standard error."""
TOLD_LINES = 12
LONGEST_LINE = 2**26
SLICE_SECONDS = 0.004
"""Replies are read no longer than this at a time: keys and drawing come between."""


@dataclass(frozen=True)
class Crashed:
    """The process has ended without being asked to."""

    code: int
    lines: tuple[str, ...]
    """The last ones it wrote to standard error."""


class EngineClient:
    """Starts the process with the first request, and again after a crash."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self.log: deque[str] = deque(maxlen=LAST_LINES)
        """What the process wrote to standard error."""
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
            try:
                await self._send(request)
            except OSError as error:
                yield Crashed(-1, (f"{self._command[0]}: {error.strerror or error}",))
                return
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

    def kill(self) -> None:
        """End the process at once; whoever waits for it is told that it crashed."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def close(self) -> None:
        """End the process; nobody is told."""
        self._waiting.clear()
        self.kill()
        if self._reader is not None:
            await self._reader

    async def _send(self, request: Request) -> None:
        if self._process is None:
            self.log.clear()
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                limit=LONGEST_LINE,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                # Keys that interrupt the app are not for it.
                start_new_session=True,
            )
            self._reader = asyncio.create_task(self._read(self._process))
        assert self._process.stdin is not None
        self._process.stdin.write(encode(request))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Hand replies to whoever waits for them, until the process ends."""
        assert process.stdout is not None
        assert process.stderr is not None
        errors = asyncio.create_task(keep_lines(process.stderr, self.log))
        try:
            await self._hand_out(process.stdout)
        except ValueError as error:  # an overlong line; a UserError is one too
            self.log.append(f"it said something that is not in the protocol: {error}")
            process.kill()
        code = await process.wait()
        await errors
        self._process = None
        told = tuple(self.log)[-TOLD_LINES:]
        for queue in self._waiting.values():
            queue.put_nowait(Crashed(code, told))

    async def _hand_out(self, output: asyncio.StreamReader) -> None:
        until = time.perf_counter() + SLICE_SECONDS
        async for line in output:
            reply = decode_reply(line)
            if reply.id in self._waiting:
                self._waiting[reply.id].put_nowait(reply)
            # Where lines lie ready, the loop above never waits.
            if time.perf_counter() > until:
                await asyncio.sleep(0)
                until = time.perf_counter() + SLICE_SECONDS


async def keep_lines(stream: asyncio.StreamReader, log: deque[str]) -> None:
    """Keep what a process writes, until it ends."""
    try:
        async for line in stream:
            log.append(line.decode(errors="replace").rstrip())
    except ValueError:
        log.append("(a line too long to show)")
