"""Freed memory is used again without the kernel."""

import platform
import resource

from sluice.heap import LARGE_BYTES, keep_freed_memory

PAGE_BYTES = 4096
SIZE = LARGE_BYTES // 2
ROUNDS = 50


def page_faults() -> int:
    """Return how often this process had the kernel map a page so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def test_buffers_cost_no_new_pages_when_others_of_their_size_were_freed() -> None:
    if not keep_freed_memory():
        assert platform.libc_ver()[0] != "glibc"
        return
    for _ in range(3):
        bytearray(SIZE)
    before = page_faults()
    for _ in range(ROUNDS):
        bytearray(SIZE)
    assert page_faults() - before < ROUNDS * (SIZE // PAGE_BYTES) / 10
