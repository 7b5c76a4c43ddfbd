"""Finding the few that spoil a batch, by halving."""

from collections.abc import Generator, Sequence
from typing import TypeVar

T = TypeVar("T")


def isolate(items: Sequence[T]) -> Generator[Sequence[T], str | None, list[tuple[T, str]]]:
    """Narrow a refused batch down to what is refused alone; return that with its reasons.

    A generator, so that it decides and the caller acts: it yields a part to try, and is sent None
    if the part was taken or the reason if it was refused. Parts come in order and together hold
    every item once, so that all that is not returned has been taken. Costs at most about
    2·p·log2(n) tries for p bad ones among n.
    """
    waiting = [items] if items else []
    refused: list[tuple[T, str]] = []
    while waiting:
        part = waiting.pop()
        reason = yield part
        if reason is None:
            continue
        if len(part) == 1:
            refused.append((part[0], reason))
            continue
        middle = len(part) // 2
        waiting += [part[middle:], part[:middle]]
    return refused
