"""Waiting while a progress bar is drawn."""

import asyncio
from contextlib import suppress


async def ended(done: asyncio.Event, within_s: float) -> bool:
    """Wait for the end of what is shown, so long at most; return whether it came."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await done.wait()
    return done.is_set()
