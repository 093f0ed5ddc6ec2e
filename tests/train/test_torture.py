"""Processes that are killed, terminated, interrupted and stopped at random instants, and then resumed.

The loss curve of what comes out is that of an uninterrupted run, bit for bit.
"""

import multiprocessing
import os
import random
import signal
import sys
import time
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from picochat import cli
from picochat.train.checkpoint import verify
from picochat.train.run_dir import RunDir

OPTIONS = {"steps": 40, "save_every": 2, "eval_every": 10, "keep": 2}
WAYS = ["kill", "kill", "kill", "control", "term", "int", "int twice"]
"""kill -9, control.json, SIGTERM, Ctrl-C, and Ctrl-C twice, which is a KeyboardInterrupt."""

# Forked from a process that has imported torch already; Windows can not.
context = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
if sys.platform != "win32":
    context.set_forkserver_preload(["picochat.cli", "picochat.train.pretrain", "picochat.train.sft"])
else:
    WAYS = ["kill", "control"]


@dataclass
class Torture:
    """One run, interrupted again and again until it is finished."""

    run: RunDir
    stage: str
    draw: random.Random
    newest: int = 0
    ways: list[str] = field(default_factory=list)

    def round(self) -> bool:
        """Resume and interrupt the run; return whether it came to its end instead."""
        way = self.draw.choice(WAYS)
        args = [self.stage, "--runs-dir", str(self.run.path.parent), "--run", self.run.name, "--resume"]
        process = context.Process(target=cli.main, args=(args,), daemon=True)
        before = self.size()
        process.start()
        # Rows are some 600 bytes, the steps of the run 40 of them.
        self.wait(process, before + self.draw.randint(1, 9_000))
        time.sleep(self.draw.uniform(0, 0.02))
        self.interrupt(process, way)
        process.join(60)
        assert process.exitcode is not None, "it hangs"
        self.check(process.exitcode, way)
        return self.run.status()["state"] == "finished"

    def size(self) -> int:
        return (self.run.path / "metrics.jsonl").stat().st_size

    def wait(self, process: BaseProcess, size: int) -> None:
        deadline = time.monotonic() + 60
        while process.is_alive() and self.size() < size:
            assert time.monotonic() < deadline, "it writes nothing"
            time.sleep(0.001)

    def interrupt(self, process: BaseProcess, way: str) -> None:
        self.ways.append(way)
        if not process.is_alive():
            return
        assert process.pid is not None
        if way == "control":
            self.run.send("stop")
        elif way == "kill":
            process.kill()
        else:
            os.kill(process.pid, signal.SIGTERM if way == "term" else signal.SIGINT)
            if way == "int twice":
                time.sleep(self.draw.uniform(0, 0.003))
                if process.is_alive():
                    os.kill(process.pid, signal.SIGINT)

    def check(self, exit_code: int, way: str) -> None:
        state, checkpoints = self.run.status()["state"], self.run.checkpoints()
        if state != "finished":
            expected = {"kill": (-9, 1), "int twice": (0, 130)}.get(way, (0,))
            assert exit_code in expected, f"{way} ended with {exit_code}"
        for path in checkpoints.values():
            verify(path)
        newest = max(checkpoints, default=0)
        assert newest >= self.newest, f"{way} lost a complete checkpoint"
        self.newest = newest
        if state == "stopped":
            assert self.run.rows("step")[-1]["step"] == newest


def scores(run: RunDir) -> list[dict[str, float]]:
    return [row["metrics"] for row in run.rows("eval")]


@pytest.mark.parametrize(
    "rounds", [10, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_a_tortured_run_ends_with_the_same_curve(rounds, stage, tmp_path, curve):
    whole = stage(tmp_path, "whole", **OPTIONS)
    for _ in whole:
        pass
    draw, done, number = random.Random(rounds), 0, 0
    while done < rounds:
        number += 1
        stage(tmp_path, f"run{number}", **OPTIONS).close()
        torture = Torture(RunDir(tmp_path / f"run{number}"), whole.stage, draw)
        while not torture.round():
            done += 1
        run = torture.run
        assert curve(run) == curve(whole.directory), torture.ways
        assert scores(run) == scores(whole.directory)
        assert list(run.checkpoints())[-1] == OPTIONS["steps"]
        leftovers = [path.name for path in run.path.rglob(".*") if path.name != ".lock"]
        assert not leftovers
        assert not list(Path(run.path / "checkpoints").glob("*.damaged"))
    assert "kill" in torture.ways
