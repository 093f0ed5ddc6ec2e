"""How controllers begin and end, in this process and with it: saved, reset, forgotten, replaced."""

import gc
import subprocess
import sys
import threading
import time

import pytest

from picochat.errors import UserError
from picochat.train import controller as controller_module
from picochat.train.controller import Controller, attach, replace
from picochat.train.events import Finished, Saved
from picochat.train.run import Run
from picochat.train.run_dir import RunDir
from tests.train.driving import LONG, rest, steps_of, until, workers


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


def test_after_the_end_a_save_tells_where_the_model_is(tmp_path, control):
    """By name, too: a page that is loaded again has the same controller."""
    controller = control(tmp_path, steps=3, save_every=0)
    controller.run()
    until(lambda: controller.state == "finished")
    saved = controller.save().result(LONG)
    assert isinstance(saved, Saved)
    assert saved.path == str(RunDir(tmp_path / "a").checkpoints()[3])
    assert (controller.error, controller.state) == (None, "finished")
    with pytest.raises(UserError, match="the run has ended at step 3"):
        controller.change(lr_scale=0.5).result(LONG)
    assert RunDir(tmp_path / "a").rows("saved")[-1]["step"] == 3


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
