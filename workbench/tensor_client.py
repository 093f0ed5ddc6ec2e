"""The process that measures tensors, seen from the app."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

COMMAND = (sys.executable, "-m", "workbench.tensor_worker")
LONGEST_LINE = 2**24


class TensorClient:
    """Starts the process with the first request; a new request ends the one before."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._ids = count(1)
        self._is_busy = False

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
                stderr=subprocess.DEVNULL,
                limit=LONGEST_LINE,
            )
        process = self._process
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
            self._is_busy = False
            yield {"error": "the process that measures tensors has ended"}

    async def close(self) -> None:
        """End the process, whatever it is doing."""
        process, self._process, self._is_busy = self._process, None, False
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        await process.wait()
