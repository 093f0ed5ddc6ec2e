"""Looks at a run in training: at the model as it is, and as it was saved."""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from picochat.eval.look import Look, look_at
from picochat.train.controller import Controller
from picochat.train.load import load
from picochat.train.looks import Looks
from picochat.train.run import Run

LONG = 20.0


@pytest.fixture
def controller(tmp_path, begin) -> Iterator[Controller]:
    controller = Controller(lambda: begin(tmp_path, steps=9, save_every=3, keep=9))
    yield controller
    controller.close()
    controller.join(20)


def settle(controller: Controller, step: int) -> None:
    end = time.monotonic() + 20
    while controller.state not in ("paused", "finished") or controller.progress[0] < step:
        assert time.monotonic() < end
        time.sleep(0.005)


def test_it_changes_as_the_model_trains_and_goes_back(tmp_path, controller):
    looks = Looks(controller)
    first = looks.ask("the cat").result(20)
    assert first.step == 0
    controller.step(9)
    settle(controller, 9)
    now = looks.ask("the cat").result(20)
    assert now.step == 9
    assert not np.allclose(first.attention_LHTT, now.attention_LHTT)
    for at, saved in ((3, 3), (5, 3), (8, 6), (100, 9), (1, 3)):
        back = looks.ask("the cat", at).result(20)
        assert back.step == saved
        again = look_at(*load(tmp_path / "a" / "checkpoints" / f"step-{saved:08d}"), "the cat", step=saved)
        np.testing.assert_array_equal(back.loss_T, again.loss_T)
        np.testing.assert_array_equal(back.attention_LHTT, again.attention_LHTT)
    np.testing.assert_array_equal(looks.ask("the cat", 9).result(20).loss_T, now.loss_T)


def test_equal_questions_are_asked_once(controller):
    looks = Looks(controller)
    settle(controller, 0)
    asked = [looks.ask("the cat") for _ in range(4)]
    assert all(answer is asked[0] for answer in asked)
    assert looks.ask("a dog") is not asked[0]
    assert looks.ask("the cat").result(20).tokens == asked[0].result(20).tokens
    controller.step()
    settle(controller, 1)
    assert looks.ask("the cat").result(20).step == 1


def test_looking_changes_nothing(tmp_path, controller, whole_curves, begin, curve):
    """The curve with a look between any two steps is that without."""
    other = begin(tmp_path, "b", steps=9, save_every=3)
    for _ in other:
        pass
    looks = Looks(controller)
    for step in range(9):
        controller.step()
        looks.ask("the cat", at=step if step > 4 else None).result(20)
        settle(controller, step + 1)
    assert controller.directory is not None
    assert curve(controller.directory) == curve(other.directory)


def test_a_checkpoint_that_is_not_there_yet(controller):
    looks = Looks(controller)
    settle(controller, 0)
    assert looks.saved_step(5) is None
    assert looks.ask("the cat", 5).result(20).step == 0


class Held:
    """The loss of a run whose next step waits until it is let go on."""

    def __init__(self, run: Run) -> None:
        self.loss, self.weight = run.trainer.loss, run.trainer.loss.weight
        self.is_begun, self.may_go_on = threading.Event(), threading.Event()
        run.trainer.loss = self

    def __call__(self, model, batch):
        self.is_begun.set()
        assert self.may_go_on.wait(LONG)
        return self.loss(model, batch)


def hold_a_step(controller: Controller) -> Held:
    """Return when a step has begun, which takes until it is let go on."""
    held = controller.call(Held).result(LONG)
    controller.step()
    assert held.is_begun.wait(LONG)
    return held


def test_in_the_middle_of_a_step_the_copy_answers(controller):
    looks = Looks(controller)
    settle(controller, 0)
    assert looks.meanwhile("the cat") is None, "nothing was copied yet"
    controller.step(4)
    settle(controller, 4)
    now = looks.ask("the cat").result(LONG)
    assert looks.meanwhile("the cat") is None, "the model itself has time"
    held = hold_a_step(controller)
    question = looks.asking("the cat")
    there = question.meanwhile()
    assert there is not None
    assert there is question.meanwhile()
    np.testing.assert_array_equal(there.loss_T, now.loss_T)
    other, saved = looks.meanwhile("a dog"), looks.meanwhile("the cat", 3)
    assert other is not None
    assert saved is not None
    assert (other.step, saved.step) == (4, 3)
    assert other.tokens != now.tokens
    held.may_go_on.set()


def test_the_copy_of_a_run_does_not_answer_for_the_next(tmp_path, begin):
    seeds = iter([1, 2])
    controller = Controller(lambda: begin(tmp_path, f"run{(seed := next(seeds))}", seed=seed))
    looks = Looks(controller)
    first = meanwhile_in_a_step(controller, looks)
    controller.reset()
    controller.call(lambda run: None).result(LONG)
    second = meanwhile_in_a_step(controller, looks)
    assert first.step == second.step == 0
    assert not np.array_equal(first.loss_T[1:], second.loss_T[1:])
    controller.close()
    controller.join(LONG)


def meanwhile_in_a_step(controller: Controller, looks: Looks) -> Look:
    looks.ask("the cat").result(LONG)
    held = hold_a_step(controller)
    there = looks.meanwhile("the cat")
    held.may_go_on.set()
    assert there is not None
    return there
