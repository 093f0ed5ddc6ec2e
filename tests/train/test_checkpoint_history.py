"""Checkpoints through any history of saves, prunings, damage and crashes."""

import errno
import shutil
import tempfile
from pathlib import Path

import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from picochat.errors import UserError
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.model.init import initialize
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.checkpoint import (
    load_checkpoint,
    newest_valid,
    prune,
    save_checkpoint,
    set_aside,
    sweep,
    verify,
)
from picochat.train.run_dir import RunDir
from tests.train.test_faults import Crash, FailingDisk


def faults(calls: int) -> st.SearchStrategy[tuple[int, int | str]]:
    """Which of the calls that change the disk fails, and how; in about every second case none does."""
    return st.tuples(st.integers(1, 2 * calls), st.sampled_from([errno.EIO, "crash"]))


class History(RuleBasedStateMachine):
    """Does to a run's folder what training, faults and users do, and keeps in mind what has to be there."""

    def __init__(self) -> None:
        super().__init__()
        self.run = RunDir(Path(tempfile.mkdtemp()) / "a")
        self.model = GPT(
            ModelConfig(sequence_len=16, vocab_size=272, n_layer=1, n_head=1, n_kv_head=1, n_embd=32)
        )
        initialize(self.model, seed=0)
        self.tokenizer = Tokenizer.from_merges([], 272)
        self.step = 0
        self.scores: dict[int, float | None] = {}
        """Of every step whose checkpoint has to be there, sound."""
        self.damaged: set[int] = set()
        self.is_dead = False
        """Whether the process is gone, so that all it can do is to start again."""

    def teardown(self) -> None:
        shutil.rmtree(self.run.path.parent)

    def attempt(self, fault: tuple[int, int | str], do) -> bool:
        """Do something on a failing disk; return whether it was done."""
        try:
            with FailingDisk(*fault).installed():
                do()
        except (OSError, Crash) as error:
            self.is_dead = isinstance(error, Crash)
            return False
        return True

    @precondition(lambda self: not self.is_dead)
    @rule(score=st.sampled_from([None, 1.0, 2.0, 3.0]), fault=faults(30))
    def save(self, score: float | None, fault: tuple[int, int | str]) -> None:
        self.step += 1
        torch.nn.init.constant_(self.model.lm_head.weight, self.step)
        path = self.run.path / "checkpoints" / f"step-{self.step:08d}"

        def do() -> None:
            save_checkpoint(
                path,
                model=self.model,
                tokenizer=self.tokenizer,
                optimizer={"m": torch.full((3,), float(self.step))},
                state={"score": score},
            )

        if self.attempt(fault, do) or path.exists():
            self.scores[self.step] = score

    @precondition(lambda self: not self.is_dead)
    @rule(keep=st.integers(1, 2), fault=faults(10))
    def prune(self, keep: int, fault: tuple[int, int | str]) -> None:
        complete = self.run.checkpoints()
        kept = {*list(complete)[-keep:], self.run.best()}
        is_done = self.attempt(fault, lambda: prune(self.run, keep))
        left = set(self.run.checkpoints())
        assert kept - {None} <= left <= set(complete)
        assert not is_done or left == kept - {None}
        for gone in set(complete) - left:
            self.scores.pop(gone, None)
            self.damaged.discard(gone)

    @precondition(lambda self: self.scores)
    @rule(how=st.sampled_from(["flip", "cut", "no manifest"]), name=st.sampled_from(["model", "optimizer"]))
    def damage(self, how: str, name: str) -> None:
        step = max(self.scores)
        path = self.run.step_folders()[step]
        file = path / f"{name}.safetensors"
        data = bytearray(file.read_bytes())
        if how == "no manifest":
            (path / "MANIFEST.json").unlink()
        elif how == "cut":
            file.write_bytes(data[:-1])
        else:
            data[-1] ^= 1
            file.write_bytes(data)
        del self.scores[step]
        self.damaged.add(step)

    @rule()
    def start_again(self) -> None:
        """Resume as a new process does."""
        self.is_dead = False
        sweep(self.run.path)
        if not self.run.step_folders():
            assert not self.scores
            return
        try:
            newest, problems = newest_valid(self.run)
        except UserError:
            assert not self.scores, "a sound checkpoint was not found"
            return
        assert newest.name == f"step-{max(self.scores):08d}"
        for path in problems:
            set_aside(path)
        self.damaged = {step for step in self.damaged if step < max(self.scores)}
        self.step = max(self.scores)
        hidden = [path.name for path in newest.parent.iterdir() if path.name.startswith(".")]
        assert not hidden

    @invariant()
    def what_has_to_be_there_is_there(self) -> None:
        folders = self.run.step_folders()
        assert set(folders) == set(self.scores) | self.damaged
        for step, score in self.scores.items():
            verify(folders[step])
            assert self.run.scores()[step] == score
        if self.scores:
            model, _ = load_checkpoint(folders[max(self.scores)])
            assert (model.lm_head.weight == max(self.scores)).all()


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
