"""Questions to a run that trains: answered between steps, never waited for."""

import threading
import time

import pytest

from picochat.errors import UserError
from picochat.train.asked import Asked
from picochat.train.controller import Controller


@pytest.fixture
def controller(tmp_path, begin_sft):
    made = Controller(lambda: begin_sft(tmp_path))
    yield made
    made.close()
    made.join(20)


def get_in_time(asked: Asked, key):
    """Draw again at each news, as a view does, until the answer to `key` is there."""
    controller, version, until = asked._controller, -1, time.monotonic() + 20
    while time.monotonic() < until:
        found = asked.get(key)
        if found is not None and found[0] == key:
            return found
        version = controller.wait(version, 20)
    raise AssertionError("the answer never came")


def test_an_answer_is_news_and_is_found_once(controller):
    asked_for = []

    def find(run, key):
        asked_for.append(key)
        time.sleep(0.3)
        return key, run.trainer.step

    asked = Asked(controller, find)
    assert asked.get("a") is None
    assert asked.is_waiting
    assert get_in_time(asked, "a") == ("a", 0)
    assert not asked.is_waiting
    version = controller.version
    assert asked.get("a") == ("a", 0)
    assert controller.version == version
    # The old answer stands until the new one is there.
    assert asked.get("b") == ("a", 0)
    assert get_in_time(asked, "b") == ("b", 0)
    assert asked_for == ["a", "b"]


def test_what_is_quick_is_there_at_once(controller):
    asked = Asked(controller, lambda run, key: (key,))
    get_in_time(asked, "first")
    assert asked.get("b") == ("b",)


def test_a_view_does_not_wait_for_the_worker(controller):
    gate = threading.Event()
    controller.call(lambda run: gate.wait(20))
    asked = Asked(controller, lambda run, key: (key,))
    began = time.perf_counter()
    assert asked.get("a") is None
    assert asked.get("b") is None
    assert time.perf_counter() - began < 1
    gate.set()
    assert get_in_time(asked, "b") == ("b",)


def test_errors_belong_to_their_question(controller):
    def find(run, key):
        if key == "bad":
            raise UserError("too long")
        return (key,)

    asked = Asked(controller, find)
    get_in_time(asked, "good")
    with pytest.raises(UserError, match="too long"):
        for _ in range(100):
            asked.get("bad")
            time.sleep(0.05)
    assert asked.get("good") == ("good",)
    assert controller.state == "paused"


def test_a_closed_controller_answers_no_more(controller):
    asked = Asked(controller, lambda run, key: (key,))
    get_in_time(asked, "a")
    controller.close()
    controller.join(20)
    assert asked.get("b") == ("a",)
