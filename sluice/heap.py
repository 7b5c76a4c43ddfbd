"""How the C library's allocator treats memory that was freed.

glibc hands buffers above 128 KiB back to the kernel at once, and the top of its heap as soon as so
much of it is free. A server that reads and encodes a batch after the other takes the same
pages again for each: the kernel clears and maps them anew, which costs more than to fill them.
"""

import ctypes
from typing import Final

KEPT_BYTES: Final = 16 * 1024 * 1024
"""So much of the free top of the heap stays with the process; it bounds what this costs."""
LARGE_BYTES: Final = 1024 * 1024
"""Buffers above this still go back to the kernel as soon as they are freed."""

# The names and numbers of glibc's malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def keep_freed_memory() -> bool:
    """Let the process use freed buffers again without the kernel; return whether it can be told.

    Other C libraries than glibc (macOS, musl) have no such settings; there nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES) and mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))
