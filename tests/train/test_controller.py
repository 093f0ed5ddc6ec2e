"""The controller: what commands do while the worker trains, and that nothing is left behind."""

import gc
import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from picochat import cli
from picochat.errors import UserError
from picochat.train import controller as controller_module
from picochat.train.controller import Controller, attach, replace
from picochat.train.events import Changed, EvalDone, Finished, SampleDone, Saved, StepDone, event_of
from picochat.train.history import History
from picochat.train.run import Run
from picochat.train.run_dir import RunDir

LONG = 20.0
"""Seconds after which something that should have happened never will."""

Control = Callable[..., Controller]


def until(condition: Callable[[], Any], what: str = "") -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, what or "it never happened"
        time.sleep(0.002)


def rest(controller: Controller) -> None:
    """Wait until the controller has done what it was told."""
    controller.call(lambda run: None).exception(LONG)
    until(lambda: controller.state in ("paused", "finished", "failed"))


def steps_of(controller: Controller) -> list[int]:
    return [event.step for event in controller.history.steps()]


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "picochat-run"]


def slow_down(run: Run, seconds: float = 0.02) -> Run:
    """Let every step of the run take at least that long."""
    loss = run.trainer.loss

    class Slow:
        weight = staticmethod(loss.weight)

        def __call__(self, model, batch):
            time.sleep(seconds)
            return loss(model, batch)

    run.trainer.loss = Slow()
    return run


@pytest.fixture
def control(begin) -> Iterator[Control]:
    """Return a controller of a tiny run: control(runs_dir, name, options). No worker outlives the test."""
    made: list[Controller] = []

    def control(runs_dir: Path, name: str = "a", *, slow: float = 0.0, **options) -> Controller:
        def build() -> Run:
            run = begin(runs_dir, name, **options)
            return slow_down(run, slow) if slow else run

        made.append(Controller(build))
        return made[-1]

    yield control
    for controller in made:
        controller.close()
        controller.join(LONG)
    assert workers() == []


def test_the_curve_is_that_of_the_command_line(tmp_path, control, whole_curves, curve, text_file):
    """Whatever way the steps are asked for, and with looks at the model between them."""
    controller = control(tmp_path)
    for n in (1, 2, 1, 3):
        controller.step(n)
        rest(controller)
        controller.call(lambda run: run.sample and run.sample(0)).result(LONG)
    controller.run()
    until(lambda: controller.state == "finished")
    assert curve(RunDir(tmp_path / "a")) == whole_curves["pretrain"]
    cli.main(
        f"pretrain --run b --runs-dir {tmp_path} --data {text_file} --vocab-size 280 --depth 1 --batch-size 2"
        " --seq-len 16 --steps 12 --eval-every 5 --eval-tokens 60 --sample-every 0 --save-every 3"
        " --device cpu --dtype float32".split()
    )
    assert curve(RunDir(tmp_path / "b")) == whole_curves["pretrain"]


def test_the_curve_of_another_stage(tmp_path, begin_sft, whole_curves, curve):
    controller = Controller(lambda: begin_sft(tmp_path))
    controller.step(5)
    rest(controller)
    controller.run()
    until(lambda: controller.state == "finished")
    controller.close()
    controller.join(LONG)
    assert curve(RunDir(tmp_path / "a")) == whole_curves["sft"]


def test_what_is_due_is_done_without_a_step(tmp_path, control):
    controller = control(tmp_path, prompts=("the",), sample_every=4, save_every=4)
    rest(controller)
    assert controller.progress == (0, 12)
    assert [event.event for event in controller.history.events] == ["eval", "sample"]
    controller.step(4)
    rest(controller)
    assert [f"{event.event} {event.step}" for event in controller.history.events[2:]] == [
        "step 1", "step 2", "step 3", "step 4", "sample 4", "saved 4",
    ]  # fmt: skip


def test_n_steps_are_n_steps(tmp_path, control):
    controller = control(tmp_path, steps=100)
    controller.step(3)
    controller.step()
    rest(controller)
    assert steps_of(controller) == [1, 2, 3, 4]
    time.sleep(0.6)  # more than a round of an idle worker
    assert controller.progress == (4, 100)
    assert controller.state == "paused"


@pytest.mark.parametrize("seed", range(4))
def test_a_pause_at_any_moment_holds(tmp_path, control, seed):
    """Never does a step begin after a pause, nor is one made twice or left out."""
    import random

    draw = random.Random(seed)
    controller = control(tmp_path, steps=2000, save_every=0, eval_every=0)
    rest(controller)
    expected = 0
    for _ in range(30):
        n = draw.randint(1, 3)
        controller.step(n)
        if draw.random() < 0.5:
            time.sleep(draw.random() * 0.02)
            controller.pause()
            before = controller.progress[0]
            rest(controller)
            # The one that was being made, no other; and never more than was asked for.
            assert controller.progress[0] <= before + 1
            assert controller.progress[0] <= expected + n
        else:
            rest(controller)
            assert controller.progress[0] == expected + n
        expected = controller.progress[0]
    assert steps_of(controller) == list(range(1, expected + 1))


def test_a_pause_takes_effect_within_one_step(tmp_path, control):
    controller = control(tmp_path, steps=1000, slow=0.2)
    controller.run()
    until(lambda: controller.progress[0] >= 2)
    assert controller.state == "running"
    began = time.monotonic()
    controller.pause()
    assert time.monotonic() - began < 0.1, "a command must not wait"
    step = controller.progress[0]
    rest(controller)
    assert time.monotonic() - began < 2.0
    assert controller.progress[0] <= step + 1
    assert controller.state == "paused"


def test_commands_do_not_wait_while_a_step_is_long(tmp_path, control):
    """The step goes on only when all commands have been given."""
    controller = control(tmp_path, steps=50)
    begun, are_given = threading.Event(), threading.Event()

    def hold_up(run: Run) -> None:
        loss = run.trainer.loss

        class Held:
            weight = staticmethod(loss.weight)

            def __call__(self, model, batch):
                begun.set()
                assert are_given.wait(LONG)
                return loss(model, batch)

        run.trainer.loss = Held()

    controller.call(hold_up).result(LONG)
    controller.run()
    assert begun.wait(LONG)
    answer = controller.call(lambda run: run.trainer.step)
    controller.step(2)
    controller.save()
    controller.change(lr_scale=0.5)
    controller.pause()
    assert not answer.done()
    are_given.set()
    assert answer.result(LONG) == 1


def test_calls_are_between_two_steps_and_no_news(tmp_path, control):
    controller = control(tmp_path, steps=1000, slow=0.01, save_every=0, eval_every=0)
    controller.run()
    until(lambda: controller.progress[0] > 3)
    threads = {controller.call(lambda run: threading.current_thread().name).result(LONG) for _ in range(5)}
    assert threads == {"picochat-run"}
    is_between = [controller.call(lambda run: run.trainer.is_sound).result(LONG) for _ in range(20)]
    assert all(is_between)
    controller.pause()
    rest(controller)
    version = controller.version
    assert controller.call(lambda run: 7).result(LONG) == 7
    assert controller.version == version
    with pytest.raises(ZeroDivisionError):
        controller.call(lambda run: 1 / 0).result(LONG)
    assert (controller.state, controller.error, controller.version) == ("paused", None, version)


def test_who_waits_is_woken_by_news(tmp_path, control):
    controller = control(tmp_path)
    rest(controller)
    version = controller.version
    assert controller.wait(version, 0.05) == version
    began = time.monotonic()
    threading.Timer(0.1, controller.step).start()
    assert controller.wait(version, LONG) > version
    assert time.monotonic() - began < LONG / 2


def test_save_and_pick_up(tmp_path, control, whole_curves, curve):
    controller = control(tmp_path, save_every=0)
    controller.step(5)
    rest(controller)
    saved = controller.save().result(LONG)
    assert isinstance(saved, Saved)
    assert controller.history.last(Saved) == saved
    assert list(RunDir(tmp_path / "a").checkpoints()) == [5]
    controller.close()
    controller.join(LONG)
    again = control(tmp_path, resume=True)
    rest(again)
    assert steps_of(again) == [1, 2, 3, 4, 5]
    again.run()
    until(lambda: again.state == "finished")
    assert curve(RunDir(tmp_path / "a")) == whole_curves["pretrain"]
    assert isinstance(again.history.events[-1], Finished)


def test_closing_loses_no_step(tmp_path, control, whole_curves, curve):
    """Without any save: the last thing that a worker does is one."""
    controller = control(tmp_path, steps=12, save_every=0, slow=0.02)
    controller.run()
    until(lambda: controller.progress[0] >= 4)
    controller.close()
    controller.join(LONG)
    directory = RunDir(tmp_path / "a")
    made = directory.rows("step")[-1]["step"]
    assert list(directory.checkpoints()) == [made]
    assert directory.status()["state"] == "stopped"
    assert not directory.is_live()
    again = control(tmp_path, resume=True)
    again.run()
    until(lambda: again.state == "finished")
    assert curve(directory) == whole_curves["pretrain"]


def test_a_closed_controller_does_nothing(tmp_path, control):
    controller = control(tmp_path)
    controller.step(2)
    rest(controller)
    controller.close()
    controller.join(LONG)
    assert controller.is_closed
    controller.run()
    controller.step()
    assert controller.call(lambda run: 1).cancelled()
    assert controller.state == "finished"
    assert workers() == []


def test_what_was_asked_before_closing_is_answered(tmp_path, control):
    controller = control(tmp_path, steps=50, slow=0.3)
    controller.run()
    until(lambda: controller.state == "running")
    answer = controller.call(lambda run: 1)
    controller.close()
    controller.join(LONG)
    assert answer.cancelled() or answer.result(0) == 1


def test_a_run_that_made_no_step_leaves_nothing(tmp_path, control):
    controller = control(tmp_path)
    rest(controller)
    assert (tmp_path / "a").is_dir()
    controller.close()
    controller.join(LONG)
    assert list(tmp_path.iterdir()) == []


def test_reset_builds_another_run_and_keeps_the_old(tmp_path, begin):
    names = iter(["first", "second", "third"])
    controller = Controller(lambda: begin(tmp_path, next(names), save_every=0))
    controller.run()
    until(lambda: controller.progress[0] >= 2)
    controller.reset()
    rest(controller)
    assert controller.progress == (0, 12)
    assert steps_of(controller) == []
    assert controller.directory is not None
    assert controller.directory.name == "second"
    first = RunDir(tmp_path / "first")
    assert list(first.checkpoints()) == [first.rows("step")[-1]["step"]]
    controller.reset()
    controller.step(12)
    rest(controller)
    until(lambda: controller.state == "finished")
    assert {run.name for run in tmp_path.iterdir()} == {"first", "third"}, "the second made no step"
    controller.close()
    controller.join(LONG)
    assert first.rows("step")[0]["loss"] == RunDir(tmp_path / "third").rows("step")[0]["loss"]


def test_steps_asked_for_after_a_reset_are_those_of_the_next_run(tmp_path, begin):
    """Even if the run before had come to its end, and the next one takes its time."""
    names, asked = iter(["first", "second"]), threading.Event()

    def build() -> Run:
        name = next(names)
        assert name == "first" or asked.wait(LONG)
        return begin(tmp_path, name, steps=3)

    controller = Controller(build)
    controller.run()
    until(lambda: controller.state == "finished")
    controller.reset()
    controller.step(2)
    asked.set()
    rest(controller)
    assert controller.progress == (2, 3)
    controller.run()
    until(lambda: controller.state == "finished")
    version = controller.version
    controller.step()
    rest(controller)
    assert (controller.state, controller.progress, controller.version) == ("finished", (3, 3), version)
    controller.close()
    controller.join(LONG)


def test_a_forgotten_controller_ends(tmp_path, begin):
    controller = Controller(lambda: begin(tmp_path, steps=10_000, eval_every=0, save_every=0))
    controller.run()
    while controller.progress[0] < 5:  # no function here: it would hold the controller
        time.sleep(0.01)
    assert len(workers()) == 1
    del controller
    gc.collect()
    until(lambda: workers() == [], "the worker outlives its controller")
    assert RunDir(tmp_path / "a").status()["state"] == "stopped"


def test_an_exception_shows_and_can_be_gone_on_from(tmp_path, control, whole_curves, curve):
    controller = control(tmp_path)
    rest(controller)

    def break_step_4(run: Run) -> None:
        loss = run.trainer.loss

        class Broken:
            weight = staticmethod(loss.weight)
            is_broken = True

            def __call__(self, model, batch):
                if run.trainer.step == 3 and Broken.is_broken:
                    Broken.is_broken = False
                    raise MemoryError("no room")
                return loss(model, batch)

        run.trainer.loss = Broken()

    controller.call(break_step_4).result(LONG)
    controller.run()
    until(lambda: controller.state == "failed")
    assert isinstance(controller.error, MemoryError)
    assert controller.progress[0] == 3
    assert controller.call(lambda run: run.trainer.step).result(LONG) == 3, "it can still be looked at"
    controller.step()
    rest(controller)
    assert (controller.state, controller.error, controller.progress[0]) == ("paused", None, 4)
    controller.run()
    until(lambda: controller.state == "finished")
    assert curve(RunDir(tmp_path / "a")) == whole_curves["pretrain"]


def test_a_loss_that_is_no_number_can_be_gone_on_from(tmp_path, control):
    controller = control(tmp_path)
    rest(controller)

    def set_loss(run: Run, factor: float) -> None:
        loss = run.trainer.loss

        class Scaled:
            weight = staticmethod(loss.weight)

            def __call__(self, model, batch):
                result = loss(model, batch)
                return type(result)(total=result.total * factor)

        run.trainer.loss = Scaled() if factor != 1 else loss

    plain = controller.call(lambda run: run.trainer.loss).result(LONG)
    controller.call(lambda run: set_loss(run, math.nan)).result(LONG)
    controller.step()
    until(lambda: controller.state == "failed")
    assert "loss nan" in str(controller.error)
    assert RunDir(tmp_path / "a").status()["state"] == "failed"
    controller.call(lambda run: setattr(run.trainer, "loss", plain)).result(LONG)
    controller.step()
    rest(controller)
    assert (controller.state, steps_of(controller)) == ("paused", [1])
    until(lambda: RunDir(tmp_path / "a").status()["state"] == "paused")


def test_a_run_whose_weights_are_spoiled_can_be_left(tmp_path, control, begin):
    """It can not be saved, which must not keep its folder from others."""
    controller = control(tmp_path)
    rest(controller)
    controller.step(5)
    rest(controller)

    def spoil(run: Run) -> None:
        run.trainer.optimizer.adamw["lm_head.weight"].m[0, 0] = math.nan

    controller.call(spoil).result(LONG)
    controller.step()  # after which a save is due
    until(lambda: controller.state == "failed")
    assert "not saved, since lm_head.weight holds NaN" in str(controller.error)
    controller.close()
    controller.join(LONG)
    run = begin(tmp_path, resume=True)
    assert run.trainer.step == 3
    run.close()


def test_a_run_that_can_not_be_built(tmp_path, begin):
    attempts = []

    def build() -> Run:
        attempts.append(1)
        if len(attempts) == 1:
            raise UserError("no such file")
        return begin(tmp_path)

    controller = Controller(build)
    until(lambda: controller.state == "failed")
    assert str(controller.error) == "no such file"
    assert controller.directory is None
    with pytest.raises(RuntimeError, match="there is no run"):
        controller.call(lambda run: run.trainer.step).result(LONG)
    controller.step(2)
    rest(controller)
    assert (controller.state, controller.error, steps_of(controller)) == ("paused", None, [1, 2])
    controller.close()
    controller.join(LONG)


def test_a_run_that_is_asked_for_twice_is_built_once(tmp_path, begin):
    built: list[Run] = []

    def build() -> Run:
        if not is_possible.is_set():
            raise UserError("no such file")
        built.append(begin(tmp_path, f"run{len(built)}"))
        return built[-1]

    is_possible = threading.Event()
    controller = Controller(build)
    until(lambda: controller.state == "failed")
    is_possible.set()
    with controller._desk._condition:  # the worker can not begin before both have been given
        controller.step()
        controller.step()
    rest(controller)
    assert controller.progress[0] == 2
    assert len(built) == 1
    controller.close()
    controller.join(LONG)


def test_a_measurement_that_fails_is_made_again(tmp_path, control):
    controller = control(tmp_path)
    rest(controller)
    evaluate = controller.call(lambda run: run.evaluate).result(LONG)

    def fail() -> dict[str, float]:
        raise OSError("disk full")

    controller.call(lambda run: setattr(run, "evaluate", fail)).result(LONG)
    controller.step(6)
    until(lambda: controller.state == "failed")
    assert controller.progress[0] == 5
    time.sleep(0.5)
    assert isinstance(controller.error, OSError)
    controller.call(lambda run: setattr(run, "evaluate", evaluate)).result(LONG)
    controller.step()
    rest(controller)
    assert [event.step for event in controller.history.evals()] == [0, 5]
    assert controller.progress[0] == 6


# Changes while it trains


def test_a_change_is_marked_and_takes_effect(tmp_path, control, whole_curves, curve):
    controller = control(tmp_path)
    controller.step(3)
    rest(controller)
    controller.change(lr_scale=0.25, batch_size=4)
    controller.step(2)
    rest(controller)
    assert controller.history.changes() == [Changed(step=3, lr_scale=0.25, batch_size=4)]
    rows = RunDir(tmp_path / "a").rows("changed")
    assert rows == [{"event": "changed", "step": 3, "lr_scale": 0.25, "batch_size": 4}]
    steps = controller.history.steps()
    assert [event.tokens for event in steps] == [32, 32, 32, 64, 64]
    with_and_without = [control(tmp_path, "b", save_every=0), controller]
    with_and_without[0].step(5)
    rest(with_and_without[0])
    plain = with_and_without[0].history.steps()
    assert plain[2].lr == steps[2].lr
    assert steps[3].lr == pytest.approx({name: 0.25 * lr for name, lr in plain[3].lr.items()})
    assert curve(RunDir(tmp_path / "a"))[:3] == whole_curves["pretrain"][:3]


@pytest.mark.parametrize("checkpoint", ["none after the change", "at the change", "after the change"])
def test_a_changed_run_resumes_exactly(tmp_path, control, curve, checkpoint):
    every = {"none after the change": 4, "at the change": 5, "after the change": 6}[checkpoint]

    def change_after_5(controller: Controller) -> None:
        controller.step(5)
        rest(controller)
        controller.change(lr_scale=0.3, batch_size=3)

    whole = control(tmp_path, "whole", save_every=every)
    change_after_5(whole)
    whole.run()
    until(lambda: whole.state == "finished")

    killed = control(tmp_path, "killed", save_every=every)
    change_after_5(killed)
    killed.step(2)
    rest(killed)
    # As if the process had been killed: nothing is saved at the end.
    killed.call(lambda run: setattr(run, "stop", lambda: [])).result(LONG)
    killed.close()
    killed.join(LONG)
    resumed = control(tmp_path, "killed", resume=True)
    rest(resumed)
    assert resumed.progress[0] == every
    resumed.run()
    until(lambda: resumed.state == "finished")
    assert curve(RunDir(tmp_path / "killed")) == curve(RunDir(tmp_path / "whole"))
    assert [change.step for change in resumed.history.changes()] == [5]


def test_a_change_made_anew_makes_later_ones_void(tmp_path, control):
    controller = control(tmp_path, save_every=3)
    controller.step(5)
    rest(controller)
    controller.change(lr_scale=0.3)
    controller.call(lambda run: setattr(run, "stop", lambda: [])).result(LONG)
    controller.close()
    controller.join(LONG)
    resumed = control(tmp_path, resume=True)
    rest(resumed)
    assert resumed.progress[0] == 3
    resumed.change(batch_size=4)
    resumed.run()
    until(lambda: resumed.state == "finished")
    assert resumed.history.changes() == [Changed(step=3, lr_scale=1.0, batch_size=4)]
    again = control(tmp_path, resume=True)
    rest(again)
    assert again.call(lambda run: (run.trainer.lr_scale, run.trainer.batches.batch_size)).result(LONG) == (
        1,
        4,
    )


def test_an_option_given_anew_counts_for_more_than_a_change(tmp_path, control):
    controller = control(tmp_path)
    controller.step(3)
    controller.change(lr_scale=0.5, batch_size=4)
    rest(controller)
    controller.close()
    controller.join(LONG)
    resumed = control(tmp_path, resume=True, batch_size=8)
    resumed.step()
    rest(resumed)
    assert resumed.history.steps()[-1].tokens == 128
    assert resumed.history.changes()[-1] == Changed(step=3, lr_scale=0.5, batch_size=8)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"lr_scale": 0.0}, "a factor over 0"),
        ({"lr_scale": math.nan}, "a factor over 0"),
        ({"batch_size": 0}, "--batch-size must be at least 1"),
        ({"batch_size": 3}, "must be a multiple of --grad-accum 2"),
    ],
)
def test_what_can_not_be_changed_is_said(tmp_path, control, change, complaint):
    controller = control(tmp_path, grad_accum=2)
    with pytest.raises(UserError, match=complaint):
        controller.change(**change).result(LONG)
    assert complaint in str(controller.error)
    controller.step()
    rest(controller)
    assert (controller.state, controller.error, controller.history.changes()) == ("paused", None, [])


# Other processes


def test_control_json_steers_the_controller(tmp_path, control):
    controller = control(tmp_path, steps=5000, save_every=0, eval_every=0)
    rest(controller)
    directory = RunDir(tmp_path / "a")
    directory.send("resume")
    until(lambda: controller.state == "running")
    directory.send("pause")
    until(lambda: controller.state == "paused")
    until(lambda: directory.status()["state"] == "paused")
    assert controller.call(lambda run: 1).result(LONG) == 1
    directory.send("checkpoint")
    until(lambda: controller.history.last(Saved) is not None)
    controller.step(2)
    rest(controller)
    controller.run()
    until(lambda: controller.state == "running")
    directory.send("stop")
    until(lambda: controller.state == "finished")
    assert directory.status()["state"] == "stopped"
    assert not directory.is_live()


def test_a_paused_run_does_not_look_crashed(tmp_path, control):
    controller = control(tmp_path)
    controller.step()
    rest(controller)
    directory = RunDir(tmp_path / "a")
    until(lambda: directory.status()["state"] == "paused")
    before = directory.status()
    until(lambda: directory.status()["heartbeat"] > before["heartbeat"])


def test_the_end_of_the_process_saves_and_is_clean(tmp_path, text_file):
    code = f"""
import time
from picochat.train.controller import Controller, attach
from picochat.train.pretrain import pretrain
def build():
    return pretrain(run="a", runs_dir={str(tmp_path)!r}, data=({str(text_file)!r},), vocab_size=280, depth=1,
        batch_size=2, seq_len=16, steps=100000, eval_every=0, save_every=0, sample_every=0, eval_tokens=60,
        device="cpu", prompts=())
controller = attach("a", lambda: Controller(build))
controller.run()
while controller.progress[0] < 5:
    time.sleep(0.01)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    directory = RunDir(tmp_path / "a")
    assert list(directory.checkpoints()) == [directory.rows("step")[-1]["step"]]
    assert directory.status()["state"] == "stopped"


# The registry


def test_a_page_loaded_again_finds_its_run(tmp_path, control):
    made = []

    def make() -> Controller:
        made.append(control(tmp_path, f"run{len(made)}"))
        return made[-1]

    first = attach("test", make)
    assert attach("test", make) is first
    first.step(2)
    rest(first)
    second = replace("test", make)
    assert second is made[1]
    assert first.is_closed
    assert attach("test", make) is second
    second.close()
    third = attach("test", make)
    assert third is made[2]
    controller_module._controllers.clear()


def test_the_same_run_can_be_replaced_by_itself(tmp_path, control):
    """The new controller resumes what the old one is still training."""
    first = replace("test", lambda: control(tmp_path, slow=0.2))
    first.run()
    until(lambda: first.progress[0] >= 2)
    began = time.monotonic()
    second = replace("test", lambda: control(tmp_path, resume=True))
    assert time.monotonic() - began < 0.15, "the page must not wait for a step"
    rest(second)
    assert second.state == "paused"
    assert second.progress[0] >= 2
    assert len(steps_of(second)) == second.progress[0]
    controller_module._controllers.clear()


# History


def test_every_event_survives_its_file(tmp_path, begin):
    run = begin(tmp_path, steps=3, sample_every=1, prompts=("the",))
    events = list(run)
    assert {type(event) for event in events} == {StepDone, EvalDone, SampleDone, Saved, Finished}
    assert [event_of(json.loads(json.dumps(event.row()))) for event in events] == events
    read = History.of(run.directory)
    assert sorted(map(repr, read.events)) == sorted(map(repr, events))
    assert [event.step for event in History.of(run.directory, until=1).steps()] == [1]


def test_rows_from_another_version_are_read_as_far_as_they_are_known():
    row = {"event": "eval", "step": 3, "metrics": {"bpb": 2.0}, "seconds": 1.0, "new": 1}
    assert event_of(row) == EvalDone(step=3, metrics={"bpb": 2.0}, seconds=1.0)
    with pytest.raises(ValueError, match="no such event: 'nothing'"):
        event_of({"event": "nothing", "step": 1})
    with pytest.raises(ValueError, match="not a eval event"):
        event_of({"event": "eval", "step": 1})


def make_step(step: int) -> StepDone:
    return StepDone(
        step=step, loss=1 / step, tokens=1, tokens_seen=step, seconds=1.0, tokens_per_second=1.0, mfu=None,
        lr={"head": 0.1 * step}, grad_norm=2.0, update_ratio={"head": 0.5} if step % 10 == 1 else {},
    )  # fmt: skip


def test_curves_grow_with_the_history():
    history = History()
    for step in range(1, 8):
        history.add(make_step(step))
        steps, values = history.curve(StepDone, "lr", "head")
        assert list(steps) == list(range(1, step + 1))
        assert list(values) == pytest.approx([0.1 * s for s in range(1, step + 1)])
    for step in range(8, 23):
        history.add(make_step(step))
    assert list(history.curve(StepDone, "update_ratio", "head")[0]) == [1, 11, 21]
    assert len(history.curve(StepDone, "mfu")[0]) == 0
    assert history.names(StepDone, "update_ratio") == ["head"]
    assert history.last(EvalDone) is None


def test_long_curves_are_read_quickly():
    history = History([make_step(step) for step in range(1, 100_001)])
    history.curve(StepDone, "loss")
    history.add(make_step(100_001))
    times = []
    for _ in range(5):
        began = time.perf_counter()
        steps, _ = history.curve(StepDone, "loss")
        times.append(time.perf_counter() - began)
    assert len(steps) == 100_001
    assert min(times) < 0.02
