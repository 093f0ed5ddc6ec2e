"""Loops that are shared out between threads."""

import sys
import threading
import time

import numpy as np
import pytest
import torch

from picochat.kernels import threads
from picochat.kernels.compiled import compiled
from picochat.kernels.threads import in_parallel


@compiled
def add_one(numbers, first, last):
    for i in range(first, last):
        numbers[i] += 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the loops have threads of their own")
def test_torchs_threads_are_found():
    assert threads.openmp() is not None


@pytest.mark.parametrize("size", [0, 1, 2, 3, 100])
def test_every_number_is_met_once(num_threads: int, size: int):
    numbers = np.zeros(size, dtype=np.int64)
    in_parallel(lambda first, last: add_one(numbers, first, last), size)
    assert (numbers == 1).all()


def test_threads_work_at_once(num_threads: int):
    """Each part waits for the others: one after the other they would wait in vain."""
    together = threading.Barrier(num_threads, timeout=20)
    in_parallel(lambda first, last: together.wait(), num_threads)
    assert not together.broken


def test_a_failure_is_raised_and_the_threads_go_on(num_threads: int):
    def fail(first: int, last: int) -> None:
        if last == num_threads:
            raise ValueError("of the last part")

    with pytest.raises(ValueError, match="of the last part"):
        in_parallel(fail, num_threads)
    test_every_number_is_met_once(num_threads, 100)


def test_several_callers_at_once(num_threads: int):
    """A training thread and one that chats, with work of torch between."""
    numbers = [np.zeros(1000, dtype=np.int64) for _ in range(4)]

    def call(mine: np.ndarray) -> None:
        for _ in range(50):
            in_parallel(lambda first, last: add_one(mine, first, last), len(mine))
            torch.ones(200, 200) @ torch.ones(200, 200)

    callers = [threading.Thread(target=call, args=(mine,)) for mine in numbers]
    for caller in callers:
        caller.start()
    deadline = time.monotonic() + 60
    for caller in callers:
        caller.join(timeout=max(0.0, deadline - time.monotonic()))
    assert not any(caller.is_alive() for caller in callers)
    assert all((mine == 50).all() for mine in numbers)
