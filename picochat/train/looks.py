"""Looks at the model of a run in training, and at the ones that it has saved."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

from picochat.eval.look import Look, look_at
from picochat.model.gpt import GPT
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.checkpoint import load_checkpoint
from picochat.train.controller import Controller
from picochat.train.run import Run

FRESH_SECONDS = 0.4
"""While the model trains, several pictures drawn within this time share a look."""
MODELS_KEPT = 2
LOOKS_KEPT = 64


class Looks:
    """Asks a controller's worker for looks; equal questions are asked once."""

    def __init__(self, controller: Controller, *, max_tokens: int = 64) -> None:
        """max_tokens: of a text that are looked at."""
        self._controller, self._max_tokens = controller, max_tokens
        self._lock = threading.Lock()
        self._newest: tuple[str, int, float, Future[Look]] | None = None
        self._saved: OrderedDict[tuple[str, str], Look] = OrderedDict()
        self._models: OrderedDict[str, tuple[GPT, Tokenizer]] = OrderedDict()

    def ask(self, text: str, at: int | None = None) -> "Future[Look]":
        """Ask what the model makes of `text`: the one in training, or the newest saved by step `at`."""
        controller = self._controller
        if at is not None and (step := self.saved_step(at)) is not None:
            return controller.call(lambda run: self._look_back(run, text, step))
        version, now = controller.version, time.monotonic()
        with self._lock:
            if self._newest is not None:
                asked, asked_version, asked_at, answer = self._newest
                is_fresh = now - asked_at < FRESH_SECONDS and controller.state == "running"
                if asked == text and (asked_version == version or is_fresh) and not _has_failed(answer):
                    return answer
            answer = controller.call(lambda run: self._look(run, text))
            self._newest = (text, version, now, answer)
            return answer

    def asking(self, text: str, at: int | None = None) -> Callable[[], "Future[Look]"]:
        """Return a function that asks, each time it is called."""
        return lambda: self.ask(text, at)

    def saved_step(self, at: int) -> int | None:
        """Return the step of the newest checkpoint that is not after step `at`; of the oldest, if all are."""
        directory = self._controller.directory
        steps = [] if directory is None else list(directory.checkpoints())
        return max((step for step in steps if step <= at), default=min(steps, default=None))

    def _look(self, run: Run, text: str) -> Look:
        return look_at(run.model, run.tokenizer, text, step=run.trainer.step, max_tokens=self._max_tokens)

    def _look_back(self, run: Run, text: str, step: int) -> Look:
        path = str(run.directory.step_folders()[step])
        key = (path, text)
        if key not in self._saved:
            if path not in self._models:
                self._models[path] = load_checkpoint(run.directory.step_folders()[step])
            model, tokenizer = self._models[path]
            self._models.move_to_end(path)
            self._saved[key] = look_at(model, tokenizer, text, step=step, max_tokens=self._max_tokens)
        self._saved.move_to_end(key)
        for kept, most in ((self._models, MODELS_KEPT), (self._saved, LOOKS_KEPT)):
            while len(kept) > most:
                kept.popitem(last=False)
        return self._saved[key]


def _has_failed(answer: "Future[Look]") -> bool:
    return answer.done() and (answer.cancelled() or answer.exception() is not None)
