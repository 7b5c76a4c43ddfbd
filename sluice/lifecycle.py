"""From signal to stop event to the end of a process, in bounded time.

A process that Sluice starts serves until SIGTERM, SIGINT or SIGHUP sets its stop event. It then has
``stop_timeout_s`` to finish what it holds; ``CANCEL_GRACE_S`` later it is cancelled, which loses
nothing: what it held is durable or was never acknowledged.

A supervised process also ends when its supervisor does, however that died: it holds the read end
of a pipe whose write end nobody but the supervisor has. Its event loop says ``ALIVE`` on standard
output every ``BEAT_S``, so that the supervisor can tell one that hangs.
"""

import asyncio
import os
import select
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import uvloop

from sluice.core.errors import SluiceError

ORPHAN_GRACE_S: Final = 1.0
"""How long a process whose supervisor died may take to end; its ports are wanted again."""
BEAT_S: Final = 1.0
ALIVE: Final = b"alive"
"""The line that a supervised process says every ``BEAT_S``."""
CANCEL_GRACE_S: Final = 1.0
"""Time-outs are shorter inside than outside: a part that keeps its own is never cancelled."""

Serve = Callable[[asyncio.Event], Awaitable[None]]


class StopTimeoutError(SluiceError):
    """The process did not finish in time after a signal, and was cancelled."""


def run_service(serve: Serve, *, stop_timeout_s: float, is_supervised: bool = False) -> None:
    """Run ``serve(stop)`` on uvloop until it returns; signals set ``stop``.

    Raises:
        StopTimeoutError: It did not end in time after the signal, and was cancelled.
        SluiceError: What ``serve`` raised, taken out of exception groups.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_serve(serve, stop_timeout_s, is_supervised=is_supervised))
        except BaseExceptionGroup as group:
            raise first_cause(group) from group


async def _serve(serve: Serve, stop_timeout_s: float, *, is_supervised: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    deadline = asyncio.timeout(None)
    try:
        async with deadline:

            def ask_to_stop() -> None:
                if not stop.is_set():
                    stop.set()
                    deadline.reschedule(loop.time() + stop_timeout_s + CANCEL_GRACE_S)

            on_signals(ask_to_stop)
            if is_supervised:
                watch_supervisor(lambda: loop.call_soon_threadsafe(ask_to_stop))
                loop.call_later(BEAT_S, _beat, loop)
            await serve(stop)
    except TimeoutError as error:
        if not deadline.expired():
            raise
        message = f"did not stop within {stop_timeout_s:g} s and was cancelled; nothing is lost."
        raise StopTimeoutError(message) from error


def on_signals(act: Callable[[], None]) -> None:
    """Call ``act`` in the loop on SIGTERM, SIGINT and SIGHUP, instead of dying from them."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, act)


def watch_supervisor(act: Callable[[], object]) -> None:
    """Call ``act`` from a thread when standard input ends, and leave the process soon after."""

    def watch() -> None:
        descriptor = sys.stdin.fileno()
        while os.read(descriptor, 1024):
            continue
        act()
        # A hung loop or a thread that blocks must not keep the ports: the time is up for all.
        timer = threading.Timer(ORPHAN_GRACE_S, os._exit, args=(1,))
        timer.daemon = True
        timer.start()

    threading.Thread(target=watch, name="supervisor-watch", daemon=True).start()


def _beat(loop: asyncio.AbstractEventLoop) -> None:
    """Say, now and every ``BEAT_S``, that the loop runs, for as long as it does."""
    output = sys.stdout.fileno()
    # A supervisor that hangs itself reads nothing: what the pipe has no room for is not said.
    if select.select([], [output], [], 0)[1]:
        with suppress(OSError):  # it is gone
            os.write(output, ALIVE + b"\n")
    loop.call_later(BEAT_S, _beat, loop)


def first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that best explains a group: the first of Sluice's own, else the first."""
    leaves = list(_leaves(group))
    return next((leaf for leaf in leaves if isinstance(leaf, SluiceError)), leaves[0])


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
