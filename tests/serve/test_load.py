"""Two hundred clients at once: no error but 503, memory flat, nothing stuck."""

import asyncio
import json
import os
import random
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.serve.driving import command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

NUM_CLIENTS = 200
ALLOWED_GROWTH = 16e6
"""Bytes that memory may grow by from the end of the first third to the end."""
WORDS = ["the", "cat", "and", "hat", "mat", "rat", "then", "of", "them", "more", "12", "34"]


class Load:
    """Clients that ask, read, and sometimes hang up, until the time is over."""

    def __init__(self, port: int, seconds: float) -> None:
        self.port = port
        self.end = time.monotonic() + seconds
        self.counts: Counter[str] = Counter()
        self.slowest = 0.0

    async def run(self) -> None:
        await asyncio.gather(*(self._client(random.Random(seed)) for seed in range(NUM_CLIENTS)))

    async def _client(self, rng: random.Random) -> None:
        while time.monotonic() < self.end:
            began = time.monotonic()
            outcome = await asyncio.wait_for(self._ask(rng), 60)
            self.counts[outcome] += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
            if outcome == "503":
                # A well-behaved client waits as it is told; this one is in a hurry.
                await asyncio.sleep(rng.uniform(0.1, 0.6))

    async def _ask(self, rng: random.Random) -> str:
        hangs_up = rng.random() < 0.15
        stream = rng.random() < 0.6
        body: dict[str, Any] = {
            "messages": [{"role": "user", "content": " ".join(rng.choices(WORDS, k=rng.randint(1, 40)))}],
            "max_tokens": rng.randint(1, 60),
            "stream": stream,
            "temperature": rng.choice((0, 0.8)),
            "truncation": "auto",
        }
        if rng.random() < 0.3:
            body |= {"logprobs": True, "top_logprobs": 5, "n": 2}
        if is_bad := rng.random() < 0.05:
            body["temperature"] = "hot"
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            content = json.dumps(body).encode()
            head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
            writer.write(head.encode() + content)
            if hangs_up:
                await asyncio.wait_for(reader.read(rng.randint(1, 2000)), 60)
                return "hung up"
            answer = await reader.read()
        finally:
            writer.transport.abort()
        status = answer.split(b" ", 2)[1].decode()
        if status == "200" and not is_bad:
            is_whole = b"data: [DONE]\n\n" in answer if stream else answer.endswith(b"}")
            return "200" if is_whole else "cut off"
        return "bad" if is_bad and status in ("400", "503") else status


def memory_of(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def get(url: str) -> str:
    with urlopen(url) as answer:
        return answer.read().decode()


async def watch(pid: int, until: asyncio.Event) -> list[int]:
    """Return the resident memory, every quarter of a second."""
    samples = []
    while not until.is_set():
        samples.append(memory_of(pid))
        await asyncio.sleep(0.25)
    return samples


async def measure(port: int, pid: int, seconds: float) -> tuple[Load, list[int]]:
    load, over = Load(port, seconds), asyncio.Event()
    watcher = asyncio.create_task(watch(pid, over))
    await load.run()
    over.set()
    return load, await watcher


def check(checkpoint: Path, seconds: float, warm_up: float) -> None:
    with command("--load", str(checkpoint), "--device", "cpu", "--quiet", OMP_NUM_THREADS="1") as (
        process,
        url,
    ):
        port = int(url.rpartition(":")[2])
        asyncio.run(measure(port, process.pid, warm_up))
        load, samples = asyncio.run(measure(port, process.pid, seconds))
        assert set(load.counts) <= {"200", "503", "bad", "hung up"}, load.counts
        assert load.counts["200"] > seconds, load.counts
        assert load.counts["hung up"] > 0
        third = len(samples) // 3
        growth = statistics.median(samples[-third:]) - statistics.median(samples[:third])
        memory = f"memory {samples[0] / 1e6:.0f} MB {growth / 1e6:+.1f}"
        print(f"{dict(load.counts)}, slowest {load.slowest:.1f} s, {memory}")
        assert growth < ALLOWED_GROWTH, [round(sample / 1e6) for sample in samples]

        metrics = ""
        deadline = time.monotonic() + 10
        while "rows_active 0\n" not in metrics or "rows_waiting 0\n" not in metrics:
            assert time.monotonic() < deadline, metrics
            metrics = get(f"{url}/metrics")
        assert json.loads(get(f"{url}/health")) == {"status": "ok"}
        assert len(os.listdir(f"/proc/{process.pid}/fd")) < 40
        process.terminate()
        assert process.wait(timeout=20) == 0


def test_two_hundred_clients_for_a_moment(checkpoint: Path):
    check(checkpoint, seconds=5, warm_up=2)


@pytest.mark.slow
def test_two_hundred_clients_for_a_minute(checkpoint: Path):
    check(checkpoint, seconds=60, warm_up=5)
