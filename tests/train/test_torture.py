"""Runs that are killed, terminated, interrupted, stopped and damaged at random instants, and then resumed.

The loss curve of what comes out is that of an uninterrupted run, bit for bit; `just torture` is the long
form.
"""

import os
import random
import shutil
import time
from multiprocessing.process import BaseProcess

import pytest

from picochat.train.run_dir import RunDir
from tests.train.conftest import TINY
from tests.train.torture import DAMAGE, INTERRUPTS, Ledger, Torture, context, torment, train

OPTIONS = {"steps": 40, "save_every": 2, "eval_every": 10, "keep": 2}
MINUTES = float(os.environ.get("PICOCHAT_TORTURE_MINUTES", "1"))


def scores(run: RunDir) -> list[dict[str, float]]:
    return [row["metrics"] for row in run.rows("eval")]


@pytest.mark.parametrize(
    "rounds", [10, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_a_tortured_run_ends_with_the_same_curve(rounds, stage, tmp_path, curve):
    draw, ledger, number = random.Random(rounds), Ledger(), 0
    begun = stage(tmp_path, "whole", **OPTIONS)
    begun.close()
    whole = Torture(RunDir(tmp_path / "whole"), begun.stage, draw).finish()

    def holds(run: RunDir) -> bool:
        return curve(run) == curve(whole) and scores(run) == scores(whole)

    while ledger.tried.total() < rounds:
        number += 1
        stage(tmp_path, f"run{number}", **OPTIONS).close()
        torture = Torture(RunDir(tmp_path / f"run{number}"), begun.stage, draw)
        assert torment(torture, INTERRUPTS, ledger, holds) == ""
        run = torture.run
        assert list(run.checkpoints())[-1] == OPTIONS["steps"]
        leftovers = [path.name for path in run.path.rglob(".*") if path.name != ".lock"]
        assert not leftovers
        assert not list((run.path / "checkpoints").glob("*.damaged"))
    assert ledger.tried["kill -9"]


def test_a_run_that_is_killed_while_it_begins_is_begun_again(tmp_path, begin, text_file, curve):
    """By the same command, or with --resume once the folder says that there is a run."""
    whole, run, draw = begin(tmp_path, "whole", kernels="portable"), RunDir(tmp_path / "a"), random.Random(0)
    list(whole)
    args = ["pretrain", "--runs-dir", str(tmp_path), "--run", "a"]
    begun = [*args, "--data", str(text_file), "--vocab-size", "280", "--depth", "1", "--kernels", "portable"]
    for name, value in TINY.items():
        begun += [f"--{name.replace('_', '-')}", *([] if value == () else [str(value)])]
    environment = {"PICOCHAT_CACHE": str(tmp_path / "cache")}  # in which no text is tokenized yet

    def start() -> BaseProcess:
        command = [*args, "--resume"] if run.exists() else begun
        process = context.Process(target=train, args=(command, environment, 0), daemon=True)
        process.start()
        return process

    for _ in range(4):
        process = start()
        time.sleep(draw.uniform(0, 1))
        process.kill()
        process.join(60)
        assert process.exitcode in (-9, 1, 0)
    process = start()
    process.join(120)
    assert process.exitcode == 0
    assert curve(run) == curve(whole.directory)
    assert not [path.name for path in run.path.rglob(".*") if path.name != ".lock"]


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.timeout(60 * MINUTES + 600)
def test_the_long_torture_loses_nothing(tmp_path, begin, begin_sft, curve):
    """All faults, in one process and in two, for PICOCHAT_TORTURE_MINUTES; prints a table of them."""
    draw, ledger, wrong = random.Random(0), Ledger(), []
    end = time.monotonic() + 60 * MINUTES
    kinds = [("pretrain", begin, 1), ("sft", begin_sft, 1), ("pretrain", begin, 2)]
    expected: dict[int, RunDir] = {}
    for place, (stage, start, ranks) in enumerate(kinds):
        start(tmp_path, f"whole{place}", **OPTIONS).close()
        expected[place] = Torture(RunDir(tmp_path / f"whole{place}"), stage, draw, ranks=ranks).finish()
    number = 0
    while time.monotonic() < end:
        place = number % len(kinds)
        stage, start, ranks = kinds[place]
        number += 1
        start(tmp_path, f"run{number}", **OPTIONS).close()
        torture = Torture(RunDir(tmp_path / f"run{number}"), stage, draw, ranks=ranks)
        faults = INTERRUPTS + DAMAGE if ranks == 1 else ("kill -9", "SIGTERM", "stop by control.json")
        what = torment(torture, faults, ledger, lambda run, place=place: curve(run) == curve(expected[place]))
        if what:
            wrong.append(what)
        else:
            shutil.rmtree(torture.run.path)
    print(f"\n{ledger.table()}")
    assert not wrong, "\n".join(wrong)
    assert ledger.tried.total() > 10
