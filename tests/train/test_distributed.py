"""Several processes train as one, end as one, and leave checkpoints that any number of them go on with."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from picochat.train.run import Run
from picochat.train.run_dir import RunDir
from tests.train.ranks import ends, start, train

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.skipif(sys.platform == "win32", reason="needs gloo and signals"),
    pytest.mark.timeout(600),
]

OPTIONS = {"steps": 12, "save_every": 4, "eval_every": 6, "batch_size": 4}
FOREVER = {**OPTIONS, "steps": 100_000, "save_every": 0, "eval_every": 0}


def resume(runs_dir: Path, *, ranks: int = 2, shard: bool = False) -> list[subprocess.Popen[str]]:
    """Resume the run `a`."""
    args = ["pretrain", "--runs-dir", str(runs_dir), "--run", "a", "--resume"]
    return start(["-m", "picochat", *args, *(["--shard"] if shard else [])], ranks)


@pytest.fixture
def alone(tmp_path: Path, begin: Callable[..., Run]) -> RunDir:
    run = begin(tmp_path / "alone", "whole", **OPTIONS)
    for _ in run:
        pass
    return run.directory


def assert_near(run: RunDir, other: RunDir, *, rel: float = 1e-5) -> None:
    ours, theirs = ({row["step"]: row for row in directory.rows("step")} for directory in (run, other))
    assert list(ours) == list(theirs)
    for step, row in ours.items():
        # Sums in another order differ in the last bit, which training makes larger.
        assert row["loss"] == pytest.approx(theirs[step]["loss"], rel=rel, abs=1e-7), f"step {step}"
        assert row["tokens"] == theirs[step]["tokens"]


def wait_for_steps(run: RunDir, processes: list[subprocess.Popen[Any]], number: int = 1) -> None:
    deadline = time.monotonic() + 120
    while len(run.rows("step")) < number:
        assert all(process.poll() is None for process in processes), ends(processes)
        assert time.monotonic() < deadline, ends(processes, seconds=1)
        time.sleep(0.05)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# 50 steps of every stage, with whole weights and with sharded ones.


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory, text_file: Path, chat_file: Path) -> list[dict[str, Any]]:
    """A run of every stage; each has been made by one process, under its stage as name."""
    folder = tmp_path_factory.mktemp("stages")
    common: dict[str, Any] = {
        "runs_dir": folder / "runs",
        "steps": 50,
        "warmup": 5,
        "eval_every": 25,
        "sample_every": 0,
        "save_every": 0,
        "device": "cpu",
        "dtype": "float32",
    }
    problems = folder / "problems.jsonl"
    rows = (f'{{"question": "the cat {i} and {i % 7}?", "answer": "#### {i + i % 7}"}}' for i in range(40))
    problems.write_text("\n".join(rows) + "\n", encoding="utf-8")
    packed = {"batch_size": 8, "seq_len": 16, "eval_tokens": 60, "prompts": ()}
    pretrain = {
        **common,
        **packed,
        "stage": "pretrain",
        "data": [str(text_file)],
        "vocab_size": 280,
        "depth": 2,
    }
    train([{**pretrain, "run": "parent", "steps": 12, "seq_len": 64}], ranks=1)
    parent = str(folder / "runs" / "parent")
    # Training makes differences in the last bit larger, the faster it learns. In GRPO a single token that is
    # drawn otherwise ends all likeness; so there whole weights go through the modules as sharded ones do.
    gentle = {"lr": 3e-4, "embedding_lr": 0.01, "head_lr": 0.01, "scalar_lr": 0.01}
    grpo = {
        "prompts": 4,
        "group_size": 3,
        "max_tokens": 6,
        "kl_beta": 0.05,
        "eval_every": 0,
        **gentle,
        "kernels": "portable",
    }
    stages = [
        {**pretrain, "lr": 0.005},
        {**common, **packed, **gentle, "stage": "sft", "load": parent, "data": [f"{chat_file}:1"]},
        {**common, **grpo, "stage": "grpo", "load": parent, "gsm8k": [str(problems)], "max_draws": 2},
    ]
    train([{**job, "run": job["stage"]} for job in stages], ranks=1)
    return stages


@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_every_stage_learns_the_same_whole_and_sharded(ranks, jobs):
    several = [
        {**job, "run": f"{job['stage']}-{ranks}-{shard}", "shard": shard}
        for job in jobs
        for shard in (False, True)
    ]
    train(several, ranks)
    for job in several:
        directory = RunDir(job["runs_dir"] / job["run"])
        assert directory.info()["world_size"] == ranks
        assert_near(directory, RunDir(job["runs_dir"] / job["stage"]))


def small(folder: Path, text_file: Path, name: str, **options: Any) -> dict[str, Any]:
    """A short run of one layer, so that of each shape of its larger matrices there is one."""
    job = {
        "stage": "pretrain", "run": name, "runs_dir": folder, "data": [str(text_file)], "vocab_size": 280,
        "depth": 1, "seq_len": 16, "batch_size": 4, "steps": 3, "eval_every": 0, "eval_tokens": 60,
        "save_every": 0, "device": "cpu",
    }  # fmt: skip
    return {**job, **options}


def test_sharded_weights_learn_in_bfloat16_where_a_rank_has_no_matrix(tmp_path, text_file):
    options = {"dtype": "bfloat16", "prompts": ()}
    train([small(tmp_path, text_file, "alone", **options)], ranks=1)
    train([small(tmp_path, text_file, "sharded", **options, shard=True)], ranks=2)
    assert_near(RunDir(tmp_path / "sharded"), RunDir(tmp_path / "alone"), rel=0.01)


def test_sharded_weights_write_samples(tmp_path, text_file):
    options = {"dtype": "float32", "prompts": ("the cat", "Tom"), "sample_every": 2}
    train([small(tmp_path, text_file, "alone", **options)], ranks=1)
    train([small(tmp_path, text_file, "sharded", **options, shard=True)], ranks=2)
    alone, sharded = (RunDir(tmp_path / name).samples() for name in ("alone", "sharded"))
    assert [(row["step"], row["prompt"]) for row in sharded] == [
        (step, prompt) for step in (0, 2, 3) for prompt in ("the cat", "Tom")
    ]
    assert sharded[:2] == alone[:2], "the same weights write the same"


# Checkpoints know nothing of ranks.


@pytest.mark.parametrize("shard", [False, True])
def test_two_ranks_save_and_one_and_four_go_on(shard, tmp_path, begin, alone):
    run = begin(tmp_path, **OPTIONS)
    run.close()
    processes = resume(tmp_path, shard=shard)
    wait_for_steps(run.directory, processes, 5)
    run.directory.send("stop")
    (code, out, err), silent = ends(processes)
    assert code == 0, err
    assert silent == (0, "", ""), "only the first rank talks"
    stopped = run.directory.rows("step")[-1]["step"]
    assert list(run.directory.checkpoints())[-1] == stopped
    assert f"stopped at step {stopped} of 12" in out or stopped == 12
    results = ends(resume(tmp_path, ranks=4, shard=shard))
    assert [code for code, _, _ in results] == [0] * 4, results[0][2]
    assert_near(run.directory, alone)
    later = begin(tmp_path, resume=True, steps=15)
    assert later.trainer.step == 12
    assert [event.step for event in later if event.event == "step"] == [13, 14, 15]


def test_ranks_begin_on_one_and_end_on_two(tmp_path, begin, alone):
    run = begin(tmp_path, **OPTIONS)
    while run.trainer.step < 5:
        next(run)
    run.request_stop()
    list(run)
    (code, out, err), _ = ends(resume(tmp_path))
    assert code == 0, err
    assert "step 12/12" in out
    assert_near(run.directory, alone)
    assert run.directory.info()["world_size"] == 1  # it was begun by one


SLOW = """
import os, sys, time
from picochat.train import run as run_module
from picochat.train.pretrain import pretrain
restore = run_module.restore
def slow(*args):
    time.sleep(3 * (os.environ["RANK"] == "1"))  # it reads what the run was like after this
    return restore(*args)
run_module.restore = slow
run = pretrain(run="a", runs_dir=sys.argv[1], resume=True, lr=0.01)
print(run.trainer.lr_scale)
run.close()
"""


def test_a_slow_rank_sees_the_options_that_were(tmp_path, begin):
    """The rate that is given anew makes a change of the old one void, on all ranks."""
    run = begin(tmp_path, **OPTIONS)
    while run.trainer.step < 2:
        next(run)
    run.change(lr_scale=0.5)
    run.stop()
    results = ends(start(["-c", SLOW, str(tmp_path)], 2))
    assert [(code, out) for code, out, _ in results] == [(0, "1.0\n")] * 2, results


# What one rank wants, all do.


def test_one_vote_stops_both_and_one_process_goes_on(tmp_path, begin):
    """Only the second rank, which writes nothing, is told to stop."""
    begin(tmp_path, **FOREVER).close()
    processes, run = resume(tmp_path), RunDir(tmp_path / "a")
    wait_for_steps(run, processes)
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


def test_a_pause_holds_both_and_a_checkpoint_is_whole(tmp_path, begin):
    begin(tmp_path, **FOREVER).close()
    processes, run = resume(tmp_path), RunDir(tmp_path / "a")
    wait_for_steps(run, processes)

    run.send("checkpoint")
    until(lambda: len(run.checkpoints()) == 1)
    run.send("pause")
    until(lambda: run.status()["state"] == "paused")
    held = len(run.rows("step"))
    run.send("checkpoint")
    until(lambda: len(run.checkpoints()) == 2)
    assert len(run.rows("step")) == held
    run.send("resume")
    until(lambda: len(run.rows("step")) > held + 2)
    run.send("pause")
    until(lambda: run.status()["state"] == "paused")
    run.send("stop")
    assert [code for code, _, _ in ends(processes)] == [0, 0]
    assert run.status()["state"] == "stopped"


# What one rank suffers, all end of.


def torchrun(runs_dir: Path, *options: str) -> subprocess.Popen[str]:
    """Resume the run `a` in two processes of torchrun."""
    agent = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *options]
    args = ["pretrain", "--runs-dir", str(runs_dir), "--run", "a", "--resume"]
    return subprocess.Popen(
        [sys.executable, *agent, "-m", "picochat", "--", *args],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_ends_all_and_the_run_goes_on(victim, tmp_path, begin):
    begin(tmp_path, **{**FOREVER, "save_every": 2}).close()
    agent, run = torchrun(tmp_path), RunDir(tmp_path / "a")
    wait_for_steps(run, [agent], 5)
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children")
    if not children.exists():
        pytest.skip("needs /proc to find the ranks")
    ranks = [int(pid) for pid in children.read_text().split()]
    until(lambda: run.status()["pid"] in ranks)
    ranks.sort(key=lambda pid: pid != run.status()["pid"])
    os.kill(ranks[victim], signal.SIGKILL)
    began = time.monotonic()
    [(code, _, err)] = ends([agent])
    assert code != 0
    assert time.monotonic() - began < 30
    told = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1, err
    assert "another process of this run has ended" in told[0]
    assert "--run a" in told[0]
    saved = max(run.checkpoints())
    again = begin(tmp_path, resume=True, steps=saved + 2)
    assert [event.step for event in again if event.event == "step"] == [saved + 1, saved + 2]


FAIL = """
import sys
from picochat import cli
from picochat.train.trainer import LossSum, Trainer
import os
step = Trainer.__next__
def fail(self):
    if self.step == 3 and os.environ["RANK"] == "1":
        {failure}
    return step(self)
Trainer.__next__ = fail
cli.main(sys.argv[1:])
"""


def resume_failing(runs_dir: Path, failure: str) -> list[subprocess.Popen[str]]:
    """Resume the run `a` in two processes, the second of which does `failure` before its fourth step."""
    args = ["pretrain", "--runs-dir", str(runs_dir), "--run", "a", "--resume"]
    return start(["-c", FAIL.format(failure=failure), *args], 2)


def test_a_raising_rank_ends_all(tmp_path, begin):
    begin(tmp_path, **OPTIONS).close()
    (code, _, err), (other_code, _, other_err) = ends(
        resume_failing(tmp_path, "raise OSError('disk on fire')")
    )
    assert (code, other_code) == (2, 2)
    assert "disk on fire" in other_err
    assert err.startswith("error: another process of this run has ended")
    assert RunDir(tmp_path / "a").status()["state"] == "failed"


def test_weights_of_one_rank_that_are_not_numbers_stop_all(tmp_path, begin):
    begin(tmp_path, **OPTIONS).close()
    spoil = "self.model.lm_head.weight.data[0, 0] = float('nan')"
    (code, _, err), silent = ends(resume_failing(tmp_path, spoil))
    assert code == 2
    assert silent == (2, "", "")
    assert "step 4: loss nan" in err
    assert "an earlier update has spoiled lm_head.weight" in err
    assert len(RunDir(tmp_path / "a").rows("step")) == 3


def test_a_gradient_of_one_rank_that_is_not_a_number_stops_all_before_the_weights(tmp_path, begin, alone):
    """Every rank's loss is finite: d sqrt(x) / dx at 0 is not."""
    begin(tmp_path, **{**OPTIONS, "save_every": 1}).close()
    spoil = (
        "loss = self.loss; whole = loss.__class__.__call__; loss.__class__.__call__ = lambda *args: "
        "LossSum(total=whole(*args).total + (args[1].resid_lambdas[0] * 0).sqrt())"
    )
    (code, _, err), silent = ends(resume_failing(tmp_path, spoil))
    assert code == 2
    assert silent == (2, "", "")
    assert re.search(r"step 4: loss \d\S*, grad_norm nan; the weights are untouched", err)
    run = begin(tmp_path, resume=True)
    assert run.trainer.step == 3
    list(run)
    assert_near(run.directory, alone)


MASKED = """
from picochat.train.world import World
from tests.train.conftest import make_trainer
world = World.from_env("cpu")
for accum in (1, 2):
    trainer = make_trainer(steps=4, lr=0.002, masked_rows=slice(4, 8), grad_accum=accum, world=world)
    for event in trainer:
        print(event.tokens, event.loss, event.grad_norm)
"""


def test_a_rank_whose_targets_are_all_masked_counts_nothing(small_trainer):
    """The second of two ranks has the rows 4 to 7."""
    events = list(small_trainer(steps=4, lr=0.002, masked_rows=slice(4, 8)))
    for code, out, err in ends(start(["-c", MASKED], 2)):
        assert code == 0, err
        rows = [[float(value) for value in line.split()] for line in out.splitlines()]
        for row, event in zip(rows, events * 2, strict=True):
            assert row == pytest.approx([event.tokens, event.loss, event.grad_norm], rel=1e-4)


def test_a_lone_process_has_all_shards(tmp_path, begin, alone):
    run = begin(tmp_path, **OPTIONS, shard=True)
    list(run)
    assert_near(run.directory, alone, rel=0)
