"""How long the event loop of a test, and of what it serves, is held by one piece of work."""

import asyncio
import time


async def watch_gaps(gaps: list[float]) -> None:
    """Append the seconds between two turns of the loop, until cancelled."""
    last = time.perf_counter()
    while True:
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        gaps.append(now - last)
        last = now
