"""How late the event loop is, measured beside everything that it does."""

import asyncio
import time
from typing import Final

from sluice.telemetry import LOOP_LAG

EVERY_S: Final = 0.25


async def watch_loop(stop: asyncio.Event, *, every_s: float = EVERY_S) -> None:
    """Count how late a timer fires, again and again until ``stop``."""
    while not stop.is_set():
        due = time.perf_counter() + every_s  # the loop's own clock stands still within a turn
        try:
            async with asyncio.timeout(every_s):
                await stop.wait()
        except TimeoutError:
            LOOP_LAG.observe((), max(0.0, time.perf_counter() - due))
