"""Compiled functions on several threads at once."""

import os
import subprocess
import sys
import threading
import time

import numba
import numpy as np
import pytest
import torch

from picochat.kernels import team, threads
from picochat.kernels.compiled import c_function, pointer

ROUNDS = 2000
GIVEN = np.dtype([(name, np.int64) for name in (*team.TEAM, "numbers", "size", "num_wrong")])


@c_function
def add_up(data):
    """In each round write a number of one's own, and add up those of all."""
    given = numba.carray(data, 1, GIVEN)[0]
    thread, num_threads = team.place_in(given)
    numbers = numba.carray(pointer(given.numbers), (given.size,), np.int64)
    num_wrong = numba.carray(pointer(given.num_wrong), (given.size,), np.int64)
    for number in range(ROUNDS):
        numbers[thread] = number + thread
        team.meet(given, num_threads)
        total = 0
        for other in range(num_threads):
            total += numbers[other] - other
        if total != number * num_threads:
            num_wrong[thread] += 1
        team.meet(given, num_threads)
    numbers[thread] = num_threads


def run_rounds(*, on_all_threads: bool = True) -> list[int]:
    """Run them; return how many threads each one that ran was told of, 0 for those that did not run."""
    numbers, num_wrong = np.zeros(8, np.int64), np.zeros(8, np.int64)
    given = np.array([*[0] * len(team.TEAM), numbers.ctypes.data, 8, num_wrong.ctypes.data])
    team.run(add_up, given, on_all_threads=on_all_threads)
    assert (num_wrong == 0).all()
    return numbers.tolist()


def test_nobody_goes_on_before_all_are_there(num_threads: int):
    """Three threads on whatever cores there are: who waits for long lends its core."""
    assert run_rounds() == [3, 3, 3, 0, 0, 0, 0, 0]


def test_one_thread_waits_for_nobody(num_threads: int):
    assert run_rounds(on_all_threads=False) == [1, 0, 0, 0, 0, 0, 0, 0]


def test_several_teams_at_once(num_threads: int):
    done = []
    callers = [
        threading.Thread(target=lambda: done.extend(run_rounds()[:3] for _ in range(5)), daemon=True)
        for _ in range(3)
    ]
    for caller in callers:
        caller.start()
    deadline = time.monotonic() + 120
    for caller in callers:
        caller.join(timeout=max(0.0, deadline - time.monotonic()))
    assert done == [[3, 3, 3]] * 15


@pytest.mark.skipif(threads.openmp() is None, reason="torch's threads are not GNU's here")
def test_fewer_threads_than_asked_for():
    """OMP_THREAD_LIMIT gives a team less than torch has; nobody may wait for those that never come."""
    code = (
        "import torch; torch.set_num_threads(3); from tests.kernels.test_team import run_rounds"
        "; print(run_rounds())"
    )
    env = {**os.environ, "OMP_THREAD_LIMIT": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip() == "[2, 2, 0, 0, 0, 0, 0, 0]", done.stderr


def test_results_of_torch_between(num_threads: int):
    """The same threads do torch's work in turn."""
    for _ in range(20):
        assert run_rounds()[:3] == [3, 3, 3]
        assert torch.equal(torch.ones(300, 300) @ torch.ones(300, 300), torch.full((300, 300), 300.0))
