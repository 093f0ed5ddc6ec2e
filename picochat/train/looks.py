"""Looks at the model of a run in training, and at the ones that it has saved."""

import copy
import threading
import time
import weakref
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass

import torch

from picochat.eval.look import Look, look_at
from picochat.model.gpt import GPT
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.asked import has_failed
from picochat.train.checkpoint import load_checkpoint
from picochat.train.controller import Controller
from picochat.train.run import Run

FRESH_SECONDS = 0.4
"""While the model trains, several pictures drawn within this time share a look."""
MODELS_KEPT = 2
LOOKS_KEPT = 64


@dataclass(frozen=True)
class Question:
    """What the model makes of a text, to be asked again and again while it trains."""

    looks: "Looks"
    text: str
    at: int | None

    def __call__(self) -> "Future[Look]":
        """Ask the model as it is; while it trains, the answer comes when its step ends."""
        return self.looks.ask(self.text, self.at)

    def meanwhile(self) -> Look | None:
        """Answer at once from what is there; None if only the model in training can tell."""
        return self.looks.meanwhile(self.text, self.at)


class Looks:
    """Looks at the model of a controller's run; equal questions are asked once.

    The model in training is the worker's. At every look it also copies the weights, so that a question which
    comes in the middle of a long step can be answered from the copy.
    """

    def __init__(self, controller: Controller, *, max_tokens: int = 64) -> None:
        """max_tokens: of a text that are looked at."""
        self._controller, self._max_tokens = controller, max_tokens
        self._lock = threading.Lock()
        self._newest: tuple[str, int, float, Future[Look]] | None = None
        self._copying = threading.Lock()
        self._copy: _Copy | None = None
        self._from_copy: tuple[str, int, Look] | None = None
        self._loading = threading.Lock()
        self._saved: OrderedDict[tuple[str, str], Look] = OrderedDict()
        self._models: OrderedDict[str, tuple[GPT, Tokenizer]] = OrderedDict()

    def ask(self, text: str, at: int | None = None) -> "Future[Look]":
        """Ask what the model makes of `text`: the one in training, or the newest saved by step `at`."""
        controller = self._controller
        if at is not None and self.saved_step(at) is not None:
            answer: Future[Look] = Future()
            try:
                answer.set_result(self._look_back(text, at))
            except Exception as error:
                answer.set_exception(error)
            return answer
        version, now = controller.version, time.monotonic()
        with self._lock:
            if self._newest is not None:
                asked, asked_version, asked_at, answer = self._newest
                is_fresh = now - asked_at < FRESH_SECONDS and controller.state == "running"
                if asked == text and (asked_version == version or is_fresh) and not has_failed(answer):
                    return answer
            answer = controller.call(lambda run: self._look(run, text))
            self._newest = (text, version, now, answer)
            return answer

    def meanwhile(self, text: str, at: int | None = None) -> Look | None:
        """Return a look that needs no worker: at a saved model, or at the latest copy of one in training."""
        if at is not None and self.saved_step(at) is not None:
            return self._look_back(text, at)
        with self._copying:
            there = self._copy
            if self._controller.state != "running" or there is None or not self._is_current(there):
                return None
            if self._from_copy is None or self._from_copy[:2] != (text, there.step):
                self._from_copy = (text, there.step, there.look(text, self._max_tokens))
            return self._from_copy[2]

    def asking(self, text: str, at: int | None = None) -> Question:
        """Return the question, to be asked each time it is called."""
        return Question(self, text, at)

    def saved_step(self, at: int) -> int | None:
        """Return the step of the newest checkpoint that is not after step `at`; of the oldest, if all are."""
        directory = self._controller.directory
        steps = [] if directory is None else list(directory.checkpoints())
        return max((step for step in steps if step <= at), default=min(steps, default=None))

    def _is_current(self, there: "_Copy") -> bool:
        run, directory = there.run(), self._controller.directory
        return run is not None and directory is not None and run.directory.path == directory.path

    def _look(self, run: Run, text: str) -> Look:
        look = look_at(run.model, run.tokenizer, text, step=run.trainer.step, max_tokens=self._max_tokens)
        with self._copying:
            if self._copy is None or self._copy.run() is not run:
                self._copy, self._from_copy = _Copy(run), None
            self._copy.renew(run)
        return look

    def _look_back(self, text: str, at: int) -> Look:
        directory = self._controller.directory
        assert directory is not None
        step = self.saved_step(at)
        assert step is not None
        folder = directory.step_folders()[step]
        key = (str(folder), text)
        with self._loading:
            if key not in self._saved:
                if key[0] not in self._models:
                    self._models[key[0]] = load_checkpoint(folder)
                model, tokenizer = self._models[key[0]]
                self._models.move_to_end(key[0])
                self._saved[key] = look_at(model, tokenizer, text, step=step, max_tokens=self._max_tokens)
            self._saved.move_to_end(key)
            for kept, most in ((self._models, MODELS_KEPT), (self._saved, LOOKS_KEPT)):
                while len(kept) > most:
                    kept.popitem(last=False)
            return self._saved[key]


class _Copy:
    """The weights of a run's model at some step."""

    def __init__(self, run: Run) -> None:
        self.run = weakref.ref(run)
        self.tokenizer = run.tokenizer
        self.model = copy.deepcopy(run.model).requires_grad_(False)
        self.step = -1

    def renew(self, run: Run) -> None:
        """Copy the weights again if they have changed since."""
        if self.step != run.trainer.step:
            with torch.no_grad():
                torch._foreach_copy_(list(self.model.parameters()), list(run.model.parameters()))
            self.step = run.trainer.step

    def look(self, text: str, max_tokens: int) -> Look:
        return look_at(self.model, self.tokenizer, text, step=self.step, max_tokens=max_tokens)
