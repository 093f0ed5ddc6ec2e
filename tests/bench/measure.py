"""Cases that take turns, each in a process of its own, and the machine they run on."""

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from tests.bench.cases import Settings
from tests.bench.table import Measured, Results

ROOT = Path(__file__).parents[2]


class Worker:
    """A process that holds a case."""

    def __init__(self, case: str, settings: Settings) -> None:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(settings.threads),
            "RAYON_NUM_THREADS": str(settings.threads),
            "TOKENIZERS_PARALLELISM": "true",
        }
        self.case = case
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.worker", case, json.dumps(asdict(settings))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )

    def answer(self) -> dict[str, float]:
        """Return the next line that the process writes."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            _, error = self.process.communicate()
            raise SystemExit(f"{self.case} failed:\n{error[-3000:]}")
        return json.loads(line)

    def repeat(self) -> dict[str, float]:
        """Have the work done once."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def measure(cases: list[str], settings: Settings, *, rounds: int, clock: str) -> Results:
    """Return the repetitions of all cases, which take turns."""
    workers, first = [], {}
    for case in cases:
        workers.append(Worker(case, settings))
        first[case] = workers[-1].answer()
    seconds: dict[str, list[float]] = {case: [] for case in cases}
    amounts: dict[str, float] = {}
    for _ in range(rounds):
        for worker in workers:
            answer = worker.repeat()
            seconds[worker.case].append(answer[clock])
            amounts[worker.case] = answer["amount"]
    for worker in workers:
        worker.close()
    return {
        case: Measured(amount=amounts[case], seconds=seconds[case], memory=int(first[case]["memory"]))
        for case in cases
    }


def machine(threads: int, clock: str) -> dict[str, object]:
    """Return what is measured on."""
    import torch

    return {
        "processor": torch.cpu.get_capabilities().get("cpu_name") or platform.processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "clock": clock,
        "bf16": has_bf16(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "date": time.strftime("%Y-%m-%d"),
    }


def has_bf16() -> bool:
    """Tell whether this processor computes in bfloat16."""
    import torch

    from picochat.train.device import pick_dtype

    return pick_dtype("auto", torch.device("cpu")) == torch.bfloat16
