"""Two processes train as one."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from picochat.train.run import Run
from picochat.train.run_dir import RunDir

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.skipif(sys.platform == "win32", reason="needs gloo and signals"),
]

OPTIONS = {"steps": 12, "save_every": 4, "eval_every": 6, "batch_size": 4}


def start_two(runs_dir: Path) -> list[subprocess.Popen[str]]:
    """Resume the run `a` in two processes, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    peers = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    args = ["pretrain", "--runs-dir", str(runs_dir), "--run", "a", "--resume"]
    return [
        subprocess.Popen(
            [sys.executable, "-m", "picochat", *args],
            env={**os.environ, **peers, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def ends(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Return the exit code and what was printed of each process."""
    results = [process.communicate(timeout=120) for process in processes]
    return [(process.returncode, *result) for process, result in zip(processes, results, strict=True)]


@pytest.fixture
def alone(tmp_path: Path, begin: Callable[..., Run]) -> RunDir:
    run = begin(tmp_path / "alone", "whole", **OPTIONS)
    for _ in run:
        pass
    return run.directory


def assert_near(run: RunDir, other: RunDir) -> None:
    losses = [{row["step"]: row["loss"] for row in directory.rows("step")} for directory in (run, other)]
    assert list(losses[0]) == list(losses[1])
    for step, loss in losses[0].items():
        # Sums in another order differ in the last bit, which training doubles every step or two.
        assert loss == pytest.approx(losses[1][step], rel=1e-6 if step <= 6 else 1e-5), f"step {step}"
    assert [row["tokens"] for row in run.rows("step")] == [row["tokens"] for row in other.rows("step")]


def test_two_ranks_train_like_one(tmp_path, begin, alone):
    begin(tmp_path, **OPTIONS).close()
    (code, out, err), silent = ends(start_two(tmp_path))
    assert code == 0, err
    assert silent == (0, "", ""), "only the first rank talks"
    assert "step 12/12" in out
    run = RunDir(tmp_path / "a")
    assert_near(run, alone)
    assert run.info()["world_size"] == 1  # it was begun by one
    assert list(run.checkpoints()) == [4, 8, 12]


def test_one_vote_stops_both_and_one_process_goes_on(tmp_path, begin, alone):
    """Only the second rank, which writes nothing, is told to stop."""
    begin(tmp_path, **{**OPTIONS, "steps": 100_000, "save_every": 0, "eval_every": 0}).close()
    processes = start_two(tmp_path)
    run = RunDir(tmp_path / "a")
    deadline = time.monotonic() + 120
    while not run.rows("step") and time.monotonic() < deadline:
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)
    (code, out, err), silent = ends(processes)
    assert code == 0, err
    assert silent == (0, "", "")
    last = run.rows("step")[-1]
    assert last["stop"]
    assert [row["stop"] for row in run.rows("step")].count(True) == 1
    assert list(run.checkpoints()) == [last["step"]]
    assert run.status()["state"] == "stopped"
    assert f"stopped at step {last['step']} of 100000" in out

    one = begin(tmp_path, resume=True, steps=last["step"] + 3, **{"eval_every": 0})
    assert one.trainer.step == last["step"]
    assert [event.step for event in one if event.event == "step"] == [last["step"] + i for i in (1, 2, 3)]


def test_ranks_begin_on_one_and_end_on_two(tmp_path, begin, alone):
    run = begin(tmp_path, **OPTIONS)
    while run.trainer.step < 5:
        next(run)
    run.request_stop()
    list(run)
    (code, _, err), _ = ends(start_two(tmp_path))
    assert code == 0, err
    assert_near(run.directory, alone)
