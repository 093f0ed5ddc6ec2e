"""The controller: what commands do while the worker trains, from here and from other processes."""

import threading
import time

import pytest

from picochat import cli
from picochat.train.controller import Controller
from picochat.train.events import Saved
from picochat.train.run import Run
from picochat.train.run_dir import RunDir
from tests.train.driving import LONG, rest, steps_of, until


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


def test_no_step_begins_while_it_is_held(tmp_path, control):
    controller = control(tmp_path, steps=100_000, save_every=0, eval_every=0)
    controller.run()
    until(lambda: controller.progress[0] >= 2)
    controller.hold(2)
    held = controller.call(lambda run: run.trainer.step).result(LONG)  # after the step that was being made
    time.sleep(0.3)
    assert controller.call(lambda run: run.trainer.step).result(LONG) == held
    until(lambda: controller.progress[0] > held)
    controller.hold(LONG)
    controller.pause()
    rest(controller)
    assert controller.state == "paused", "a pause waits for no hold"


def test_holds_without_end_do_not_stop_the_run(tmp_path, control):
    """As when a slider is drawn to and fro all the time."""
    controller = control(tmp_path, steps=100_000, save_every=0, eval_every=0)
    controller.run()
    until(lambda: controller.progress[0] >= 2)
    began, before = time.monotonic(), controller.progress[0]
    while time.monotonic() - began < 2:
        controller.hold(0.1)
        time.sleep(0.01)
    made = controller.progress[0] - before
    assert 5 <= made <= 25, "a step, then a tenth of a second, and so on"


def hold_up(controller: Controller) -> tuple[threading.Event, threading.Event]:
    """Let every step wait; return what tells that one has begun, and what lets them go on."""
    begun, may_go_on = threading.Event(), threading.Event()

    def hold(run: Run) -> None:
        loss = run.trainer.loss

        class Held:
            weight = staticmethod(loss.weight)

            def __call__(self, model, batch):
                begun.set()
                assert may_go_on.wait(LONG)
                return loss(model, batch)

        run.trainer.loss = Held()

    controller.call(hold).result(LONG)
    return begun, may_go_on


def test_a_pause_is_told_before_it_takes_effect(tmp_path, control):
    """The step that is being made goes on only when that was seen."""
    controller = control(tmp_path, steps=50, eval_every=0, save_every=0)
    begun, is_seen = hold_up(controller)
    assert not controller.is_first_step
    controller.run()
    assert begun.wait(LONG)
    assert controller.is_first_step
    version = controller.version
    controller.pause()
    assert controller.is_pausing
    assert controller.version > version, "pages are to repaint"
    controller.run()
    assert not controller.is_pausing, "taken back"
    controller.pause()
    assert controller.state == "running"
    is_seen.set()
    rest(controller)
    assert (controller.is_pausing, controller.progress[0]) == (False, 1)
    controller.pause()
    assert not controller.is_pausing, "nothing is being made"
    controller.step()
    until(lambda: controller.progress[0] == 2)
    assert not controller.is_first_step


def test_what_a_build_does_is_told(tmp_path, begin):
    told: list[str] = []

    def build() -> Run:
        tell("reading text")
        told.append(controller.doing)
        return begin(tmp_path)

    tells: list = []

    def tell(doing: str) -> None:
        until(lambda: tells)
        tells[0](doing)

    controller = Controller(build)
    tells.append(controller.tell)
    rest(controller)
    assert (told, controller.doing) == (["reading text"], "")
    config = controller.model_config
    assert config is not None
    assert (config.vocab_size, config.n_layer) == (280, 1)
    controller.close()
    controller.join(LONG)


def test_commands_do_not_wait_while_a_step_is_long(tmp_path, control):
    """The step goes on only when all commands have been given."""
    controller = control(tmp_path, steps=50)
    begun, are_given = hold_up(controller)
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
