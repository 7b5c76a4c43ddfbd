"""A flood of equal questions costs one look-up, and who asks often does not wait for it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from gateway.single_flight import RENEWALS_AT_ONCE, WARN_EVERY_S, Note, SingleFlight
from tests.support.poll import poll_until


async def test_look_up_is_made_once_when_many_ask_at_once() -> None:
    calls = 0
    gate = asyncio.Event()

    async def look_up() -> str:
        nonlocal calls
        calls += 1
        await gate.wait()
        return "answer"

    flight: SingleFlight[str, str] = SingleFlight(keep_s=1, max_entries=10, monotonic=lambda: 0.0)
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(flight.get("key", look_up)) for _ in range(50)]
        await asyncio.sleep(0)
        gate.set()
    assert [one.result() for one in asked] == ["answer"] * 50
    assert calls == 1


async def test_look_up_is_made_again_when_the_answer_is_old_or_failed() -> None:
    now = 0.0
    answers = iter(["one", "two", "three"])
    flight: SingleFlight[str, str] = SingleFlight(keep_s=1, max_entries=10, monotonic=lambda: now)

    async def look_up() -> str:
        return next(answers)

    async def fail() -> str:
        raise LookupError

    with pytest.raises(LookupError):
        await flight.get("key", fail)
    assert await flight.get("key", look_up) == "one"
    now = 0.9
    assert await flight.get("key", look_up) == "one"
    now = 1.0
    assert await flight.get("key", look_up) == "two"


async def test_old_answer_is_given_at_once_and_renewed_behind_it() -> None:
    now = 0.0
    answers = iter(["one", "two", "three"])
    flight: SingleFlight[str, str] = SingleFlight(
        keep_s=1, stale_s=4, max_entries=10, monotonic=lambda: now
    )

    async def look_up() -> str:
        return next(answers)

    async def fail() -> str:
        raise LookupError

    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(flight.run(stop))
        assert await flight.get("key", look_up) == "one"
        now = 1.0
        assert await flight.get("key", fail) == "one"
        await asyncio.sleep(0)
        assert await flight.get("key", look_up) == "one"
        now = 1.5

        async def renewed() -> bool:
            return await flight.get("key", look_up) == "two"

        await poll_until(renewed)
        now = 7.0
        assert await flight.get("key", look_up) == "three"
        stop.set()


async def test_oldest_answer_is_forgotten_when_there_are_too_many() -> None:
    flight: SingleFlight[int, int] = SingleFlight(keep_s=60, max_entries=2, monotonic=lambda: 0.0)
    calls: list[int] = []

    async def ask(key: int) -> int:
        async def look_up() -> int:
            calls.append(key)
            return key

        return await flight.get(key, look_up)

    for key in (1, 2, 3, 3, 2, 1):
        assert await ask(key) == key
    assert calls == [1, 2, 3, 1]


@dataclass
class Renewed:
    """A flight that renews, a clock, and look-ups that end when they are let go."""

    now: float = 0.0
    notes: list[Note] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    let_go: dict[str, asyncio.Event] = field(default_factory=dict)
    flight: SingleFlight[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.flight = SingleFlight(
            keep_s=1,
            stale_s=4,
            renewing_s=15,
            max_entries=10,
            monotonic=lambda: self.now,
            note=self.notes.append,
        )

    async def get(self, key: str = "key") -> str:
        """Ask; a look-up takes until it is let go."""

        async def look_up() -> str:
            self.begun.append(key)
            await self.let_go.setdefault(key, asyncio.Event()).wait()
            return f"{key} at {self.now}"

        return await self.flight.get(key, look_up)

    async def first(self, key: str = "key") -> None:
        """Have a first answer kept, and hold the look-ups that come after it."""
        self.let_go[key] = asyncio.Event()
        self.let_go[key].set()
        assert await self.get(key) == f"{key} at {self.now}"
        self.let_go[key].clear()
        self.begun.clear()


@asynccontextmanager
async def renewing(renewed: Renewed) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(renewed.flight.run(stop))
        yield
        for event in renewed.let_go.values():
            event.set()
        stop.set()


async def test_answer_is_given_for_longer_while_its_renewal_is_under_way() -> None:
    renewed = Renewed()
    await renewed.first()
    async with renewing(renewed):
        for renewed.now in (1.0, 4.9, 5.0, 19.9):
            assert await renewed.get() == "key at 0.0"
            await poll_until(lambda: renewed.begun)
        assert renewed.begun == ["key"]
        assert renewed.notes == ["overdue"] * 2
        renewed.now = 20.0
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(renewed.get())
            await asyncio.sleep(0)
            assert not waiting.done()
            renewed.let_go["key"].set()
        assert waiting.result() == "key at 20.0"
        assert renewed.begun == ["key"]
        await poll_until(lambda: renewed.notes[-1] == "renewed")


async def test_old_answer_is_not_given_when_nobody_asked_for_it_in_time() -> None:
    renewed = Renewed()
    await renewed.first()
    async with renewing(renewed):
        renewed.now = 5.0
        renewed.let_go["key"].set()
        assert await renewed.get() == "key at 5.0"
    assert renewed.notes == []


async def test_renewal_that_takes_long_holds_up_no_other() -> None:
    renewed = Renewed()
    for key in ("slow", "quick"):
        await renewed.first(key)
    async with renewing(renewed):
        renewed.now = 1.0
        for _ in range(RENEWALS_AT_ONCE + 1):  # the same again takes no other's turn
            assert await renewed.get("slow") == "slow at 0.0"
            await poll_until(lambda: "slow" in renewed.begun)
        renewed.let_go["quick"].set()
        assert await renewed.get("quick") == "quick at 0.0"
        await poll_until(lambda: renewed.notes == ["renewed"])
        assert await renewed.get("quick") == "quick at 1.0"
        assert await renewed.get("slow") == "slow at 0.0"


async def test_renewal_that_fails_is_told_and_warned_of_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    renewed = Renewed()
    caplog.set_level(logging.DEBUG, logger="gateway.single_flight")

    async def fail() -> str:
        reason = "no answer"
        raise LookupError(reason)

    async with renewing(renewed):
        for key, at in (("one", 0.0), ("two", WARN_EVERY_S - 1.5), ("three", WARN_EVERY_S)):
            renewed.now = at
            await renewed.first(key)
            renewed.now = at + 1.0
            assert await renewed.flight.get(key, fail) == f"{key} at {at}"
            await poll_until(lambda: "failed" in renewed.notes)
            renewed.notes.clear()
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG", "WARNING"]
    assert {record.__dict__["reason"] for record in caplog.records} == {"no answer"}
