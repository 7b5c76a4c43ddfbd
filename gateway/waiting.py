"""Waiting for the first of several events, with an end."""

import asyncio


async def first_of(*events: asyncio.Event, within_s: float | None) -> None:
    """Return when one of the events is set, or after ``within_s`` (None: however long)."""
    try:
        async with asyncio.timeout(within_s), asyncio.TaskGroup() as tasks:
            waits = [tasks.create_task(event.wait()) for event in events]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
    except TimeoutError:
        return
