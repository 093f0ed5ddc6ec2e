"""Start one program in several processes, as torchrun would, without its agent."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TRAIN = """
import json, sys
import picochat
for job in json.loads(sys.argv[1]):
    run = getattr(picochat, job.pop("stage"))(**job)
    for event in run:
        pass
    run.close()
"""


def start(args: Sequence[str], ranks: int) -> list[subprocess.Popen[str]]:
    """Start `python ARGS` once per rank; the processes find each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    peers = {
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "OMP_NUM_THREADS": "1",
    }
    return [
        subprocess.Popen(
            [sys.executable, *args],
            env={**os.environ, **peers, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]


def ends(processes: Sequence[subprocess.Popen[str]], seconds: float = 200) -> list[tuple[int, str, str]]:
    """Return the exit code and what was printed of each process."""
    try:
        results = [process.communicate(timeout=seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *result) for process, result in zip(processes, results, strict=True)]


def train(jobs: Sequence[dict[str, Any]], ranks: int) -> None:
    """Train runs one after another among the same ranks; a job is a stage and its options."""
    rows = [{name: str(v) if isinstance(v, Path) else v for name, v in job.items()} for job in jobs]
    for code, _, err in ends(start(["-c", TRAIN, json.dumps(rows)], ranks)):
        assert code == 0, err
