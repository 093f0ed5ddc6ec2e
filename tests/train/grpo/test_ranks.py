"""Two processes share the answering and the training."""

import sys
from pathlib import Path

import pytest

from picochat.train.run_dir import RunDir
from tests.train.ranks import train

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.skipif(sys.platform == "win32", reason="needs gloo"),
]


def test_two_ranks_draw_and_train_like_one(practise):
    whole = practise("whole", steps=4, epochs=2, dynamic_sampling=True, prompts=3, group_size=4)
    list(whole)
    train([{**whole.options.row(), "stage": "grpo", "run": "shared"}], ranks=2)
    shared = RunDir(Path(whole.options.runs_dir) / "shared")
    assert shared.rollouts() == whole.directory.rollouts()
    for row, expected in zip(shared.rows("step"), whole.directory.rows("step"), strict=True):
        for name in ("loss", "grad_norm", "tokens"):
            assert row[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-6), name
        for name in ("reward", "entropy", "kl", "ratio_max"):
            if name in expected["stats"]:
                assert row["stats"][name] == pytest.approx(expected["stats"][name], rel=1e-4, abs=1e-6), name
