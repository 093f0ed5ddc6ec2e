"""Compiled loops on torch's number of threads.

numba's own threads would be a second pool beside torch's, and one that two Python threads must not use at
once.
"""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch


@functools.cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="picochat-kernels")


def in_parallel(work: Callable[[int, int], object], size: int) -> None:
    """Call work(start, stop) for parts of range(size), one to a thread.

    `work` has to let go of the interpreter's lock, as compiled loops do.
    """
    num_threads = torch.get_num_threads()
    bounds = [size * i // num_threads for i in range(num_threads + 1)]
    parts = [(a, b) for a, b in pairwise(bounds) if a < b]
    waiting = [_pool(num_threads - 1).submit(work, *part) for part in parts[1:]]
    try:
        work(*parts[0])
    finally:
        for future in waiting:
            future.result()
