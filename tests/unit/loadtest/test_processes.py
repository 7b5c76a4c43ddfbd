import os
import threading
import time

import pytest

from loadtest.processes import cpu_s

USED_S = 0.1


def use_processor() -> None:
    until = time.thread_time() + USED_S
    while time.thread_time() < until:
        pass


def test_processor_time_of_a_thread_counts_when_the_thread_has_ended() -> None:
    before = cpu_s(os.getpid())
    thread = threading.Thread(target=use_processor)
    thread.start()
    thread.join()
    assert cpu_s(os.getpid()) - before >= USED_S


def test_processor_time_of_a_process_that_is_not_there_is_an_error() -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        cpu_s(2**22 + 1)
