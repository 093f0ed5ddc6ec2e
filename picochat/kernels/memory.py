"""Keep the C allocator from giving large buffers back to the system after every operation."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameter numbers of glibc's mallopt (malloc.h)."""


def keep_large_buffers() -> bool:
    """Let glibc reuse buffers of any size instead of mapping each anew; return whether it was done.

    A fresh mapping is zeroed by the kernel page by page, which costs a training step on CPU half of its time.
    Other C libraries have no such switch.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    limit = (1 << 31) - 1
    return bool(libc.mallopt(M_MMAP_THRESHOLD, limit) and libc.mallopt(M_TRIM_THRESHOLD, limit))
