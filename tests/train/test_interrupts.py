"""What an interrupt leaves, at any line: a run goes on from it to the same curve."""

import json
import random
import sys
from pathlib import Path

import pytest

from picochat.optim.groups import GroupedOptimizer
from picochat.train import checkpoint
from picochat.train import run as run_module
from picochat.train import trainer as trainer_module
from picochat.train.run import Run
from picochat.train.run_dir import write_json
from tests.train.driving import finish, lines_of


def test_changes_are_all_made_again_however_often_it_is_resumed(tmp_path, begin, curve):
    def go_to(run: Run, step: int) -> Run:
        while run.trainer.step < step:
            next(run)
        return run

    def train_and_change(name: str) -> Run:
        run = begin(tmp_path, name, save_every=4)
        go_to(run, 5).change(lr_scale=0.5)
        go_to(run, 7).change(lr_scale=0.25)
        return run

    whole = train_and_change("whole")
    finish(whole)
    train_and_change("a").close()  # as if killed
    go_to(begin(tmp_path, resume=True), 6).close()  # and once more, with the first change made again
    run = begin(tmp_path, resume=True)
    assert run.trainer.step == 4
    changes = [line for line in finish(run) if line.startswith("changed")]
    assert changes == ["changed 5", "changed 7"]
    assert curve(run.directory) == curve(whole.directory)


def test_half_a_line_is_mended(tmp_path, begin, whole_curves, curve):
    run = begin(tmp_path)
    while run.trainer.step < 5:
        next(run)
    run.close()
    for name in ("metrics.jsonl", "samples.jsonl"):
        with (tmp_path / "a" / name).open("a", encoding="utf-8") as file:
            file.write('{"event": "step", "step": 6, "lo')
    run = begin(tmp_path, resume=True)
    finish(run)
    assert curve(run.directory) == whole_curves["pretrain"]
    for line in lines_of(run.directory, "metrics.jsonl"):
        json.loads(line)


class Interrupter:
    """Raises KeyboardInterrupt before some line of run.py, trainer.py or checkpoint.py."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.left = 0

    def __enter__(self) -> None:
        # Now and then long enough for a whole save.
        self.left = 1 + int(self.draw.expovariate(1 / 200))
        self.before = sys.gettrace()
        sys.settrace(self.trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self.before)

    def trace(self, frame, event, arg):
        if frame.f_code not in CHANGING and frame.f_code.co_filename not in SOURCES:
            return None
        self.left -= event == "line"
        if self.left == 0:
            raise KeyboardInterrupt
        return self.trace


SOURCES = {str(Path(module.__file__)) for module in (run_module, trainer_module, checkpoint)}
CHANGING = {GroupedOptimizer.step.__code__, GroupedOptimizer.update.__code__}
"""Of the optimizer only where it goes from group to group: interrupted at any line, a run never ends."""


@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(i, marks=pytest.mark.slow) for i in range(4, 100))]
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupts_at_any_line_lose_nothing(seed, tmp_path, begin, whole_curves, curve):
    """Dozens of interrupts in a run that simply goes on after each.

    Where weights were changing the trainer refuses to go on, and the newest checkpoint is resumed.
    """
    interrupter, num_interrupts, num_refusals = Interrupter(seed), 0, 0
    run = begin(tmp_path)
    while run.state != "finished":
        try:
            with interrupter:
                finish(run)
        except KeyboardInterrupt:
            num_interrupts += 1
        except RuntimeError:
            num_refusals += 1
            run.close()
            run = begin(tmp_path, resume=True)
    run.close()
    assert num_interrupts > 10
    assert num_refusals > 0
    assert curve(run.directory) == whole_curves["pretrain"]
    assert [row["step"] for row in run.directory.rows("eval")] == [0, 5, 10, 12]
    assert [row["step"] for row in run.directory.rows("finished")] == [12]
    assert checkpoint.newest_valid(run.directory) == (run.directory.checkpoints()[12], {})
    assert list(run.directory.checkpoints()) == [6, 9, 12]


def test_leftovers_are_swept(tmp_path, begin):
    run = begin(tmp_path, steps=3)
    finish(run)
    leftover = tmp_path / "a" / "checkpoints" / ".step-00000009.tmp-1"
    leftover.mkdir()
    write_json(tmp_path / "a" / "x.json", 1)
    begin(tmp_path, resume=True).close()
    assert not leftover.exists()
    assert not list((tmp_path / "a").glob(".*.tmp"))
