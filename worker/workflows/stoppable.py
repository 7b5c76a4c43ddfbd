"""Ends what takes long as soon as its run is to stop."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from sluice.lifecycle import first_cause
from worker.workflows.builtin import StoppedError

T = TypeVar("T")


async def stoppable(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """Return what the work returns; it is cancelled when ``stop`` is set.

    Raises:
        StoppedError: It was cancelled.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(work, name="step")
            stopping = tasks.create_task(stop.wait(), name="stop")
            await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            working.cancel()  # changes nothing if it is done
    except BaseExceptionGroup as group:
        raise first_cause(group) from group
    if working.cancelled():
        message = "the run was stopped"
        raise StoppedError(message)
    return working.result()
