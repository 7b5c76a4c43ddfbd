"""Waiting without sleeping blindly: ask again and again until true, or fail at a deadline."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast, overload

T = TypeVar("T")


@overload
async def poll_until(
    condition: Callable[[], Awaitable[T | None]],
    *,
    within_s: float = ...,
    every_s: float = ...,
    what: str = ...,
) -> T: ...


@overload
async def poll_until(
    condition: Callable[[], T | None],
    *,
    within_s: float = ...,
    every_s: float = ...,
    what: str = ...,
) -> T: ...


async def poll_until(
    condition: Callable[[], Awaitable[T | None]] | Callable[[], T | None],
    *,
    within_s: float = 30,
    every_s: float = 0.02,
    what: str = "the condition",
) -> T:
    """Return the first true answer of ``condition``, which may be plain or a coroutine function.

    Raises:
        TimeoutError: It was still false after ``within_s``; the text holds the last answer.
    """
    deadline = time.monotonic() + within_s
    while True:
        answer = condition()
        result = cast("T", await answer if inspect.isawaitable(answer) else answer)
        if result:
            return result
        if time.monotonic() > deadline:
            message = f"{what} was not true within {within_s} s; last answer: {result!r}"
            raise TimeoutError(message)
        await asyncio.sleep(every_s)
