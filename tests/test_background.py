"""Work on a thread: watched, stopped, replaced, forgotten."""

import gc
import subprocess
import sys
import threading
import time
import weakref

import pytest

from picochat.background import Background, Stopped, shared


def endless(publish, ticks: list[int] | None = None, started: threading.Event | None = None) -> None:
    number = 0
    while True:
        number += 1
        if ticks is not None:
            ticks.append(number)
        publish(number)
        if started is not None:
            started.set()
        time.sleep(0.001)


def test_values_are_published_and_the_end_is_told():
    work: Background[int] = Background()
    assert (work.state, work.value, work.version) == ("idle", None, 0)
    go_on = threading.Event()

    def count(publish) -> None:
        publish(1)
        go_on.wait()
        publish(2)

    work.start(count)
    version = 0
    while work.value != 1:
        version = work.wait(version, 5)
    assert work.state == "working"
    go_on.set()
    work.join()
    assert (work.state, work.value, work.error) == ("finished", 2, None)
    assert work.version > version
    assert work.wait(work.version, 0.01) == work.version, "no news, no waiting for ever"


def test_stop_ends_work_at_its_next_word():
    work: Background[int] = Background()
    started = threading.Event()
    ticks: list[int] = []
    work.start(lambda publish: endless(publish, ticks, started))
    assert started.wait(5)
    work.stop()
    work.join()
    assert work.state == "stopped"
    assert work.value == len(ticks) - 1, "what came after the stop is not published, what came before stays"


def test_an_error_is_kept_for_who_watches():
    work: Background[int] = Background()

    def fail(publish) -> None:
        publish(1)
        raise ValueError("no")

    work.start(fail)
    work.join()
    assert (work.state, str(work.error), work.value) == ("failed", "no", 1)
    work.start(lambda publish: publish(3))
    work.join()
    assert (work.state, work.error, work.value) == ("finished", None, 3)


def test_new_work_waits_for_the_old_to_end():
    work: Background[str] = Background()
    order: list[str] = []
    started, release = threading.Event(), threading.Event()

    def old(publish) -> None:
        started.set()
        try:
            release.wait()
            publish("old")
        except Stopped:
            order.append("old ended")
            raise

    def new(publish) -> None:
        order.append("new began")
        publish("new")

    work.start(old)
    assert started.wait(5)
    work.start(new)
    assert work.value is None
    release.set()
    work.join()
    assert order == ["old ended", "new began"]
    assert (work.state, work.value) == ("finished", "new")


def test_work_that_nobody_holds_ends():
    work: Background[int] = Background()
    started = threading.Event()
    work.start(lambda publish: endless(publish, None, started))
    assert started.wait(5)
    thread = work._thread
    assert thread is not None
    gone = weakref.ref(work)
    del work
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()
    assert gone() is None


def test_a_page_that_is_loaded_again_finds_its_work():
    assert shared("a page") is shared("a page")
    assert shared("a page") is not shared("another page")


@pytest.mark.parametrize("kept", [True, False])
def test_the_process_ends_while_work_goes_on(kept: bool):
    code = f"""
import time
from picochat.background import Background
def endless(publish):
    while True:
        publish(0)
        time.sleep(0.001)
work = Background()
work.start(endless)
while work.value is None:
    time.sleep(0.001)
if not {kept}:
    del work
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
