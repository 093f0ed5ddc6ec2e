"""The process that measures tensors, seen from the app."""

import asyncio
import json
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

from workbench.engine_client import keep_lines

COMMAND = (sys.executable, "-m", "workbench.tensor_worker")
LONGEST_LINE = 2**24
TOLD_LINES = 3
"""Of what the process wrote to standard error before it crashed."""


class TensorClient:
    """Starts the process with the first request; a new request ends the one before."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._ids = count(1)
        self._is_busy = False
        self._last_words: deque[str] = deque(maxlen=TOLD_LINES)
        self._errors: asyncio.Task[None] | None = None

    async def ask(self, **request: Any) -> AsyncIterator[dict[str, Any]]:
        """Send a request and yield its replies; one with `error` tells what went wrong."""
        if self._is_busy:
            await self.close()
        self._is_busy = True
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                limit=LONGEST_LINE,
            )
            assert self._process.stderr is not None
            self._last_words.clear()
            self._errors = asyncio.create_task(keep_lines(self._process.stderr, self._last_words))
        process, errors = self._process, self._errors
        assert errors is not None
        assert process.stdin is not None
        assert process.stdout is not None
        id = next(self._ids)
        process.stdin.write(json.dumps({"id": id, **request}).encode() + b"\n")
        while line := await process.stdout.readline():
            reply = json.loads(line)
            if reply.get("id") != id:
                continue
            if reply.get("done"):
                self._is_busy = False
                return
            yield reply
        if process is self._process:
            code = await process.wait()
            await errors
            self._is_busy = False
            told = f"the process that measures tensors has crashed ({code})"
            yield {"error": "\n".join([told, *self._last_words])}

    async def close(self) -> None:
        """End the process, whatever it is doing."""
        process, self._process, self._is_busy = self._process, None, False
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        await process.wait()
        if self._errors is not None:
            await self._errors
