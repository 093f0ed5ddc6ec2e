"""What fails under a controller is shown, and can be gone on from."""

import math
import threading
import time

import pytest

from picochat.errors import UserError
from picochat.train.controller import Controller
from picochat.train.run import Run
from picochat.train.run_dir import RunDir
from tests.train.driving import LONG, rest, steps_of, until


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
    with pytest.raises(RuntimeError, match="there is no run"):
        controller.save().result(LONG)
    assert str(controller.error) == "no such file", "the cause stays"
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
