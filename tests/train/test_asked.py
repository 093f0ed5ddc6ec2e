"""Questions to a run that are asked once."""

import threading

import pytest

from picochat.errors import UserError
from picochat.train.asked import Asked
from picochat.train.controller import Controller

LONG = 20.0


@pytest.fixture
def controller(tmp_path, begin_sft):
    made = Controller(lambda: begin_sft(tmp_path))
    yield made
    made.close()
    made.join(LONG)


def test_what_is_asked_again_is_not_found_out_again(controller):
    found = []

    def find(run, key):
        found.append((threading.current_thread().name, key))
        return key, run.trainer.step

    asked = Asked(controller, find)
    first = asked.ask("a")
    assert asked.ask("a") is first  # while it is open
    assert first.result(LONG) == ("a", 0)
    assert asked.ask("a") is first
    assert asked.ask("b").result(LONG) == ("b", 0)
    assert asked.ask("a").result(LONG) == ("a", 0)
    assert found == [("picochat-run", key) for key in ("a", "b", "a")]


def test_it_is_found_out_between_steps(controller):
    asked = Asked(controller, lambda run, key: run.trainer.step)
    controller.step(3)
    assert asked.ask("now").result(LONG) in range(4)
    controller.pause()
    step = asked.ask("later").result(LONG)
    assert asked.ask("later").result(LONG) == step


def test_an_error_is_the_answer_until_its_cause_is_mended(controller):
    is_mended = threading.Event()

    def find(run, key):
        if not is_mended.is_set():
            raise UserError(f"{key}: is gone")
        return key

    asked = Asked(controller, find)
    for _ in range(2):
        with pytest.raises(UserError, match="a: is gone"):
            asked.ask("a").result(LONG)
    assert controller.error is None
    is_mended.set()
    assert asked.ask("a").result(LONG) == "a"


def test_a_closed_controller_answers_no_more(controller):
    asked = Asked(controller, lambda run, key: key)
    assert asked.ask("a").result(LONG) == "a"
    controller.close()
    controller.join(LONG)
    assert asked.ask("b").cancelled()
