"""Compiled functions that run on several threads at once and wait for one another.

A step of decoding has some twenty places where each thread needs what the others have made. A lock of the
operating system takes longer there than the work between two of them, and so would the interpreter's. So a
thread looks at a number in memory until the last one has come, and lends its core if that takes long.

https://en.wikipedia.org/wiki/Barrier_(computer_science)#Sense-Reversal_Centralized_Barrier
"""

import ctypes
import functools
import platform
import sys
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from picochat.kernels import threads
from picochat.kernels.compiled import part

TEAM = ("thread", "num_threads", "ask_thread", "ask_num_threads", "barrier")
"""First fields, all int64, of the record that a compiled function is given: which thread it runs on and of
how many, or the addresses of functions `int f(void)` that tell; the address of a barrier."""
LINE = 128
"""Bytes of memory that processors hand to one another as a whole, at most."""
NUM_WAITING, TURN, LEND_CORE = 0, LINE, 2 * LINE
"""Where in a barrier's memory these are; the last is the address of a function."""
TRIES = 2000
"""Looks at a number before the core is lent: 20 microseconds and more."""

_i64 = ir.IntType(64)


def run(function: Any, given: np.ndarray, *, on_all_threads: bool) -> None:
    """Call a `c_function` on each of torch's threads at once, or here only, with the numbers of a record.

    The first of them, TEAM, are filled in.
    """
    barrier = np.zeros(LEND_CORE // 8 + 1, np.int64)
    barrier[LEND_CORE // 8] = _lend_core()
    num_threads = torch.get_num_threads() if on_all_threads else 1
    team = threads.openmp() if num_threads > 1 else None
    if team is not None:
        given[: len(TEAM)] = 0, 0, team.thread, team.num_threads, barrier.ctypes.data
        team.parallel(function.address, given.ctypes.data, num_threads, 0)
        return
    members = [given.copy() for _ in range(num_threads)]
    for thread, member in enumerate(members):
        member[: len(TEAM)] = thread, num_threads, 0, 0, barrier.ctypes.data
    threads.on_own_threads(threads.MEMBER(function.address), [(member.ctypes.data,) for member in members])


@functools.cache
def _lend_core() -> int:
    """Return the address of the system's function that lets other threads use this one's core."""
    if sys.platform == "win32":
        function = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _place(builder, address):
    return builder.inttoptr(address, _i64.as_pointer())


def _add(typingctx, address, number):
    """Add to the number at an address, for all threads at once; return what it was."""

    def generate(context, builder, signature, arguments):
        return builder.atomic_rmw("add", _place(builder, arguments[0]), arguments[1], "acq_rel")

    return types.int64(types.int64, types.int64), generate


def _read(typingctx, address):
    """Return the number at an address; what its writer wrote before is seen from now on."""

    def generate(context, builder, signature, arguments):
        return builder.load_atomic(_place(builder, arguments[0]), "acquire", 8)

    return types.int64(types.int64), generate


def _write(typingctx, address, number):
    """Write the number at an address, after all that was written before."""

    def generate(context, builder, signature, arguments):
        builder.store_atomic(arguments[1], _place(builder, arguments[0]), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _rest(typingctx):
    """Tell the processor that this thread only waits."""
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")

    def generate(context, builder, signature, arguments):
        if is_x86:
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), generate


def _call(typingctx, address):
    """Call the C function `int f(void)` at an address."""

    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(ir.IntType(32), [])
        result = builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), [])
        return builder.sext(result, _i64)

    return types.int64(types.int64), generate


add: Any = intrinsic(_add)
read: Any = intrinsic(_read)
write: Any = intrinsic(_write)
rest: Any = intrinsic(_rest)
call: Any = intrinsic(_call)


@part
def place_in(given):
    """Return which thread this is, and of how many."""
    if given.ask_thread:
        return call(given.ask_thread), call(given.ask_num_threads)
    return given.thread, given.num_threads


@part
def meet(given, num_threads):
    """Wait until this thread and all others of `num_threads` are here."""
    if num_threads == 1:
        return
    barrier = given.barrier
    now = read(barrier + TURN)
    if add(barrier + NUM_WAITING, 1) == num_threads - 1:
        write(barrier + NUM_WAITING, 0)
        write(barrier + TURN, now + 1)
        return
    tries = 0
    while read(barrier + TURN) == now:
        tries += 1
        if tries < TRIES:
            rest()
        else:
            call(read(barrier + LEND_CORE))
