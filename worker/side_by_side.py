"""Waiting for several things at once where any of them may be repeated."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from sluice.core.errors import WarehouseError
from sluice.lifecycle import first_cause

T = TypeVar("T")


async def side_by_side(statements: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run statements at once and return their results, in order.

    Raises:
        WarehouseError: Of the first that failed. The others were given up: what they stored or
            noted may be there, so that all of them have to bear to be repeated.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(statement) for statement in statements]
    except BaseExceptionGroup as group:
        cause = first_cause(group)
        if isinstance(cause, WarehouseError):
            raise cause from None
        raise
    return [task.result() for task in running]
