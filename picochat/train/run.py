"""A run: what happens between optimizer steps, and the files that it leaves."""

import contextlib
import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

import filelock

from picochat.errors import UserError
from picochat.files import naming
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.changes import Changes
from picochat.train.checkpoint import newest_valid, prune, restore, save_checkpoint, set_aside, sweep
from picochat.train.events import EvalDone, Event, Finished, Paused, SampleDone, Saved, StepDone
from picochat.train.options import RunOptions
from picochat.train.run_dir import PROBE_SECONDS, RunDir, State, open_for_append, write_json
from picochat.train.run_info import run_info
from picochat.train.trainer import Trainer, Vote
from picochat.train.world import whole

HEARTBEAT_SECONDS = 1.0

Evaluate = Callable[[], dict[str, float]]
"""Measures the model; the first value is the score that `best` goes by, lower is better."""
Sample = Callable[[int], list[tuple[str, str]]]
"""Continues the fixed prompts after a step: pairs of prompt and text."""
Report = Callable[[int], Sequence[Event]]
"""Tells what else there is to be written about a step that was just made."""


class Run:
    """An iterator of events over a whole run; each `next` does one thing: a step, a measurement, a save.

    It evaluates, samples, saves, obeys control.json and writes events to the run directory. An exception does
    not end it: the next `next` goes on where it was. (An interrupt may make it tell something twice.)
    """

    def __init__(
        self,
        directory: RunDir,
        *,
        stage: str,
        options: RunOptions,
        trainer: Trainer,
        tokenizer: Tokenizer,
        evaluate: Evaluate | None = None,
        sample: Sample | None = None,
        report: Report | None = None,
        parent: str | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.directory, self.stage, self.options = directory, stage, options
        self.trainer, self.tokenizer = trainer, tokenizer
        self.evaluate, self.sample, self.report, self.parent = evaluate, sample, report, parent
        self.notes = list(notes)
        """What the user should know before the run begins, a line each."""
        self.state: State = "starting"
        self.score: float | None = None
        """The validation result of the present weights, None where they were not measured."""
        self.changes = Changes(trainer, options)
        self.waits = True
        """Whether `next` waits while a pause is asked for; a driver that can wait by itself has it False."""
        self._pending: deque[Callable[[], Event | None]] = deque()
        self.wants: set[Vote] = set()
        """What this process was asked for; among several ranks it takes a vote to come into force."""
        self._agreed: set[Vote] = set()
        """What is in force."""
        self._told_step: int | None = None
        self._saved_step: int | None = None
        self._last_heartbeat = 0.0
        self._files: dict[str, TextIO] = {}
        self._lock = directory.lock()
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            if trainer.world.is_main:
                self._open()
            trainer.world.barrier()
            if directory.step_folders():
                self._restore()
            else:
                self._pending.extend((self._evaluate, self._sample))
            trainer.world.barrier()  # a slow rank still reads the options that are replaced now
            if trainer.world.is_main:
                self._announce()
            undo.pop_all()

    @property
    def model(self):
        """The model in training."""
        return self.trainer.model

    @property
    def _has_ended(self) -> bool:
        return self.state in ("finished", "stopped")

    def __iter__(self) -> "Run":
        return self

    def __next__(self) -> Event:
        """Do the next thing and return what happened."""
        while True:
            if self._has_ended or self.state == "failed":
                self.close()
                raise StopIteration
            self._obey()
            must_wait = self.waits and "pause" in self._agreed and "stop" not in self._agreed
            with self._telling_failure():
                event = self._wait() if must_wait else self._advance()
            if event is not None:
                return event

    def catch_up(self) -> Event | None:
        """Do the next thing that is due besides steps: a measurement, samples, a save. None if nothing is."""
        while self._pending:
            # Taken off only when done: an interrupt must not lose a measurement or a save.
            with self._telling_failure():
                event = self._write(self._pending[0]())
            self._pending.popleft()
            if event is not None:
                return event
        return None

    def rest(self) -> Event | None:
        """Tell the files that no step is being made, and do what control.json asks for meanwhile.

        A driver that waits calls it about every second; a long silence looks like a crash.
        """
        if self.state in ("starting", "running"):
            self._set_state("paused")
        self._obey()
        if "checkpoint" in self._agreed:
            self._grant("checkpoint")
            return self.save()
        self._beat()
        return None

    def save(self) -> Event | None:
        """Save now, between two steps. A validation that is due is made before, and told after."""
        if self._has_ended:
            path = self.directory.checkpoints().get(self.trainer.step)
            return None if path is None else Saved(step=self.trainer.step, path=str(path), seconds=0.0)
        if self._evaluate in self._pending:
            # The checkpoint keeps the score; it can not be added later.
            event = self._evaluate()
            self._pending[self._pending.index(self._evaluate)] = lambda: event
        return self._write(self._save())

    def change(self, *, lr_scale: float | None = None, batch_size: int | None = None) -> Event | None:
        """Let the steps that follow have another learning rate (a factor on all) or another batch size."""
        if self._has_ended:
            raise UserError(f"the run has ended at step {self.trainer.step}; there is no step to be changed")
        change = self.changes.make(lr_scale=lr_scale, batch_size=batch_size)
        self._write(change)
        self.changes.apply(change)
        return change

    def retry(self) -> None:
        """Take up a run again whose step failed: its weights are those of the step before."""
        if self.state == "failed":
            self._set_state("paused")

    def stop(self) -> list[Event]:
        """End now, saved and to be resumed, and return what happened. Measurements due are left out."""
        self.retry()
        # What happened already is still told.
        self._pending = deque(do for do in self._pending if do not in (self._evaluate, self._sample))
        self.wants.add("stop")
        return list(self)

    def request_stop(self) -> None:
        """Save and end after the present step; safe to call from a signal handler."""
        self.wants.add("stop")

    def request_checkpoint(self) -> None:
        """Save after the present step."""
        self.wants.add("checkpoint")

    def close(self) -> None:
        """Let go of the run directory."""
        with contextlib.ExitStack() as each:
            # The lock too if a file can not be flushed for want of space.
            each.callback(self._lock.release)
            for file in self._files.values():
                each.enter_context(naming(file.name))
                each.callback(file.close)
        self._files = {}  # not before: an interrupt may come between any two lines

    def _wait(self) -> Event | None:
        """Do what a paused run does: nothing but to save when asked to."""
        if self.state != "paused":
            self._set_state("paused")
            return self._write(Paused(step=self.trainer.step))
        event = self.rest()
        if event is None:
            time.sleep(0.05)
            if self.trainer.world.size > 1:
                self._agreed = self.trainer.vote(self.wants)
        return event

    def _grant(self, vote: Vote) -> None:
        self.wants.discard(vote)
        self._agreed.discard(vote)

    def _advance(self) -> Event | None:
        if self.state != "running":
            self._set_state("running")
        if self._pending:
            return self.catch_up()
        trainer = self.trainer
        # Steps are told with a delay when an interrupt comes between the step and its telling.
        is_told = trainer.last is None or trainer.last.step == self._told_step
        if is_told:
            if trainer.step >= trainer.steps:
                return self._end("finished")
            if "stop" in self._agreed:
                return self._end("stopped")
            if (change := self.changes.due()) is not None:
                # It stands in the file already. Behind those that came later it would make them void.
                self.changes.repeat(change)
                return change
            trainer.votes = set(self.wants)
            next(trainer)
        assert trainer.last is not None
        self._write(trainer.last)
        self._plan(trainer.last)
        self._told_step = trainer.last.step
        return trainer.last

    def _plan(self, event: StepDone) -> None:
        """Queue what is due after a step."""
        options, step = self.options, event.step
        self.score = None
        self._pending.clear()
        if self.trainer.world.size > 1:
            self._agreed = set(self.trainer.agreed)
        is_last = step >= self.trainer.steps

        def due(every: int) -> bool:
            return is_last or (every > 0 and step % every == 0)

        if self.report is not None:
            self._pending.extend(lambda event=event: event for event in self.report(step))
        if due(options.eval_every):
            self._pending.append(self._evaluate)
        if due(options.sample_every):
            self._pending.append(self._sample)
        # Among several ranks one that is asked for now is saved after the next step: a save takes them all.
        wanted = self._agreed if self.trainer.world.size > 1 else self.wants
        if due(options.save_every) or "checkpoint" in wanted:
            self._grant("checkpoint")
            self._pending.append(self._save)

    def _evaluate(self) -> Event | None:
        if self.evaluate is None:
            return None
        began = time.perf_counter()
        metrics = self.evaluate()
        if bad := [f"{name} {value:g}" for name, value in metrics.items() if not math.isfinite(value)]:
            raise UserError(
                f"step {self.trainer.step}: validation gives {', '.join(bad)}; resume from the newest "
                "checkpoint with a lower --lr"
            )
        self.score = next(iter(metrics.values()))
        return EvalDone(step=self.trainer.step, metrics=metrics, seconds=time.perf_counter() - began)

    def _sample(self) -> Event | None:
        world = self.trainer.world
        # Sharded weights come together only where all ranks ask for them.
        if self.sample is None or not (world.is_main or world.is_sharded):
            return None
        samples = [
            SampleDone(step=self.trainer.step, prompt=p, text=t) for p, t in self.sample(self.trainer.step)
        ]
        for event in reversed(samples[1:]):
            self._pending.insert(1, lambda event=event: event)
        return samples[0] if samples else None

    def _save(self) -> Event | None:
        step = self.trainer.step
        began = time.perf_counter()
        weights = {name: whole(tensor) for name, tensor in self.model.state_dict().items()}
        moments = self.trainer.optimizer.state_dict()
        if not self.trainer.world.is_main:
            self._saved_step = step
            return None
        path = self.directory.path / "checkpoints" / f"step-{step:08d}"
        state = {"stage": self.stage, "score": self.score, "trainer": self.trainer.state_dict()}
        if not path.exists():
            try:
                save_checkpoint(
                    path,
                    model=self.model,
                    weights=weights,
                    tokenizer=self.tokenizer,
                    optimizer=moments,
                    state=state,
                )
            except UserError:
                self.trainer.poison()  # they hold what is no number
                raise
        prune(self.directory, self.options.keep)
        self._saved_step = step
        return Saved(step=step, path=str(path), seconds=time.perf_counter() - began)

    def _end(self, state: State) -> Event | None:
        step = self.trainer.step
        if step > 0 and step != self._saved_step:
            return self._write(self._save())  # the end itself comes with the next `next`
        event = self._write(Finished(step=step, state=state))
        self._set_state(state)
        return event

    def _obey(self) -> None:
        """Take a command from control.json."""
        command = self.directory.take_command() if self.trainer.world.is_main else None
        if command == "resume":
            self.wants.discard("pause")
        elif command is not None:
            self.wants.add(command)
        if self.trainer.world.size == 1:
            self._agreed = set(self.wants)

    def _open(self) -> None:
        """Take the run directory."""
        path, options = self.directory.path, self.options
        path.mkdir(parents=True, exist_ok=True)
        try:
            # Not at once: a watcher may be trying it at this moment to see whether the run is alive.
            self._lock.acquire(timeout=5 * PROBE_SECONDS)
        except filelock.Timeout as error:
            raise UserError(f"{path}: another process is training this run; stop it first") from error
        if self.directory.exists() and not options.resume:
            raise UserError(
                f"{path} holds a run already; give --resume to go on with it, or another --run name"
            )
        sweep(path)
        (path / "control.json").unlink(missing_ok=True)
        names = ["metrics.jsonl", "samples.jsonl", *([] if self.report is None else ["rollouts.jsonl"])]
        for name in names:  # one after another, so that a failure can close those before
            self._files[name] = open_for_append(path / name)

    def _announce(self) -> None:
        """Write run.json and the state; a resumed run keeps its facts but takes new options."""
        info = run_info(self)
        if self.directory.exists():
            info = {**self.directory.info(), "options": info["options"]}
        write_json(self.directory.path / "run.json", info)
        self._set_state("starting")

    def _restore(self) -> None:
        path, problems = newest_valid(self.directory)
        self.trainer.world.barrier()
        if self.trainer.world.is_main:
            for damaged, problem in problems.items():
                self.notes.append(
                    f"{problem}; set aside as {set_aside(damaged).name}, going on from {path.name}"
                )
        state = restore(path, self.model, self.trainer.optimizer)
        self.trainer.load_state_dict(state["trainer"])
        self.score = state["score"]
        self._saved_step = self.trainer.step
        stored = self.directory.info()["options"] if self.directory.exists() else None
        if (change := self.changes.restore(self.directory, stored)) is not None:
            self.changes.apply(change)
            self._pending.append(lambda: change)

    @contextlib.contextmanager
    def _telling_failure(self) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            self._set_state("failed", message=str(error))
            raise

    def _set_state(self, state: State, *, message: str | None = None) -> None:
        self.state = state
        self._last_heartbeat = 0.0
        self._beat(message)

    def _beat(self, message: str | None = None) -> None:
        """Renew status.json, at most about once a second."""
        now = time.time()
        if not self.trainer.world.is_main or now - self._last_heartbeat < HEARTBEAT_SECONDS:
            return
        self._last_heartbeat = now
        self.directory.write_status(self.state, self.trainer.step, self.trainer.steps, message=message)

    def _write(self, event: Event | None) -> Event | None:
        if event is not None and self.trainer.world.is_main:
            assert self._files, "the run was closed"
            file = self._files[event.file]
            with naming(file.name):
                file.write(json.dumps(event.row(), allow_nan=False) + "\n")
                file.flush()
            self._beat()
        return event
