"""Several statements at once: results in order, the first failure instead."""

import asyncio

import pytest

from sluice.core.errors import WarehouseError, WarehouseUnavailableError
from worker.side_by_side import side_by_side


async def test_results_come_in_order_when_the_first_is_the_last_to_end() -> None:
    second_ended = asyncio.Event()

    async def first() -> int:
        await second_ended.wait()
        return 1

    async def second() -> int:
        second_ended.set()
        return 2

    assert await side_by_side([first(), second()]) == [1, 2]
    assert await side_by_side([]) == []


async def test_failure_is_raised_as_it_is_and_the_others_end_when_one_fails() -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("slow")

    async def failing() -> None:
        message = "away"
        raise WarehouseUnavailableError(message)

    with pytest.raises(WarehouseUnavailableError, match="away"):
        await side_by_side([slow(), failing()])
    assert ended == ["slow"]


async def test_what_is_no_failure_of_the_warehouse_stays_in_its_group_when_raised() -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as found:
        await side_by_side([broken()])
    assert found.group_contains(ZeroDivisionError)
    assert not found.group_contains(WarehouseError)
