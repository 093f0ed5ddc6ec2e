"""Compiled loops on torch's number of threads.

numba's own threads would be a second pool beside torch's, and one that two Python threads must not use at
once. On Linux the loops run on the very threads of torch: those wait busily for their next work, and a
thread of another pool would have to share its core with the one that waits.
"""

import ctypes
import functools
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import torch

Part = tuple[int, int]
_MEMBER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def in_parallel(work: Callable[[int, int], object], size: int) -> None:
    """Call work(start, stop) for parts of range(size), one to a thread.

    `work` has to let go of the interpreter's lock, as compiled loops do.
    """
    num_threads = torch.get_num_threads()
    bounds = [size * i // num_threads for i in range(num_threads + 1)]
    parts = [(a, b) for a, b in pairwise(bounds) if a < b]
    if len(parts) == 1:
        work(*parts[0])
    elif parts:
        team = _team()
        if team is None:
            _on_own_threads(work, parts)
        else:
            _on_torchs_threads(team, work, parts)


def _on_torchs_threads(
    team: Callable[..., None], work: Callable[[int, int], object], parts: list[Part]
) -> None:
    left, failures = iter(parts), []

    def take_parts(_: object) -> None:
        try:
            # Fewer threads than parts come where OMP_THREAD_LIMIT says so.
            for part in left:
                work(*part)
        except BaseException as failure:  # It can not pass through C: it is raised below.
            failures.append(failure)

    # Always all threads, as in torch's own work: for fewer, the runtime would end some and start them anew.
    team(_MEMBER(take_parts), None, torch.get_num_threads(), 0)
    if failures:
        raise failures[0]


def _on_own_threads(work: Callable[[int, int], object], parts: list[Part]) -> None:
    waiting = [_pool(torch.get_num_threads() - 1).submit(work, *part) for part in parts[1:]]
    try:
        work(*parts[0])
    finally:
        for future in waiting:
            future.result()


@functools.cache
def _team() -> Callable[..., None] | None:
    """Return the OpenMP function that runs a callback on each of torch's threads, None where it is not GNU's.

    https://gcc.gnu.org/onlinedocs/libgomp/Implementing-PARALLEL-construct.html
    """
    if sys.platform != "linux":
        return None
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        function = ctypes.CDLL(str(library)).GOMP_parallel
    except (OSError, AttributeError):
        return None
    function.argtypes = [_MEMBER, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    function.restype = None
    return function


@functools.cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="picochat-kernels")
