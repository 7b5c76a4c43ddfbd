"""Waiting that an event ends early."""

import asyncio


async def wait_for_event(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, so long at most; at once where there is nothing to wait for."""
    if seconds <= 0:
        return
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
