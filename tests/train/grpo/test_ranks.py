"""Two processes share the answering and the training."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from picochat.train.run_dir import RunDir

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.skipif(sys.platform == "win32", reason="needs gloo"),
]


def test_two_ranks_draw_and_train_like_one(practise):
    whole = practise("whole", steps=4, epochs=2, dynamic_sampling=True, prompts=3, group_size=4)
    list(whole)
    options = {**whole.options.row(), "run": "shared"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    code = (
        "import json, sys; from picochat.train.grpo import grpo\n"
        "for event in grpo(**json.loads(sys.argv[1])): pass"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(options)],
            env={
                **os.environ,
                **{"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
                **{"RANK": str(rank), "LOCAL_RANK": str(rank)},
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=200)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    shared = RunDir(Path(whole.options.runs_dir) / "shared")
    assert shared.rollouts() == whole.directory.rollouts()
    for row, expected in zip(shared.rows("step"), whole.directory.rows("step"), strict=True):
        for name in ("loss", "grad_norm", "tokens"):
            assert row[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-6), name
        for name in ("reward", "entropy", "kl", "ratio_max"):
            if name in expected["stats"]:
                assert row["stats"][name] == pytest.approx(expected["stats"][name], rel=1e-4, abs=1e-6), name
