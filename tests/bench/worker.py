"""A process that holds one case, built and warm, and repeats it whenever it is told to.

`python -m tests.bench.worker NAME SETTINGS` (JSON) answers each line on stdin by one JSON line: what the
repetition did (`amount`), wall and processor seconds, and after the first line the memory it took at most.
"""

import json
import os
import sys
import time
from pathlib import Path

from tests.bench.cases import Settings, build


def resident_bytes(key: str) -> int:
    """Return VmRSS or VmHWM (its peak) of this process, 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    line = next(line for line in status.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def cpu_seconds() -> float:
    """Return processor time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    """Build the case, then repeat it for every line of stdin."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not stand among the answers
    settings = Settings(**json.loads(sys.argv[2]))
    repeat = build(sys.argv[1], settings)
    before = resident_bytes("VmRSS")
    warm_up = repeat()
    peak = resident_bytes("VmHWM") - before
    repeat()
    print(json.dumps({"amount": warm_up, "memory": peak}), file=answers, flush=True)
    for _ in sys.stdin:
        cpu, wall = cpu_seconds(), time.perf_counter()
        amount = repeat()
        wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
        print(json.dumps({"amount": amount, "wall": wall, "cpu": cpu}), file=answers, flush=True)


if __name__ == "__main__":
    main()
