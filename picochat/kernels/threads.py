"""Compiled loops on torch's number of threads.

numba's own threads would be a second pool beside torch's, and one that two Python threads must not use at
once. On Linux the loops run on the very threads of torch: those wait busily for their next work, and a
thread of another pool would have to share its core with the one that waits.
"""

import ctypes
import functools
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

MEMBER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
"""What runs on each thread of a team, given the address of its data."""


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
        team = openmp()
        if team is None:
            on_own_threads(work, parts)
        else:
            _on_torchs_threads(team, work, parts)


def _on_torchs_threads(
    team: "OpenMP", work: Callable[[int, int], object], parts: list[tuple[int, int]]
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
    member = MEMBER(take_parts)
    team.parallel(ctypes.cast(member, ctypes.c_void_p), None, torch.get_num_threads(), 0)
    if failures:
        raise failures[0]


def on_own_threads(work: Callable[..., object], parts: Sequence[tuple[Any, ...]]) -> None:
    """Call work(*part) for each part at once, for the first one here. There are at most as many as torch has
    threads."""
    waiting = [_pool(torch.get_num_threads() - 1).submit(work, *part) for part in parts[1:]]
    try:
        work(*parts[0])
    finally:
        for future in waiting:
            future.result()


@dataclass(frozen=True, kw_only=True)
class OpenMP:
    """The threads of GNU's OpenMP, which are torch's.

    https://gcc.gnu.org/onlinedocs/libgomp/Implementing-PARALLEL-construct.html
    """

    parallel: Callable[..., None]
    """Calls a function with data, both given by their addresses, on so many threads."""
    thread: int
    """Address of the function that tells which of them one is."""
    num_threads: int
    """Address of the function that tells how many there are."""


@functools.cache
def openmp() -> OpenMP | None:
    """Return torch's OpenMP, None where it is not GNU's."""
    if sys.platform != "linux":
        return None
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        parallel = library.GOMP_parallel
        told = [
            ctypes.cast(function, ctypes.c_void_p).value or 0
            for function in (library.omp_get_thread_num, library.omp_get_num_threads)
        ]
    except (OSError, AttributeError):
        return None
    parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    parallel.restype = None
    return OpenMP(parallel=parallel, thread=told[0], num_threads=told[1])


@functools.cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="picochat-kernels")
