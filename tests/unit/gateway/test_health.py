"""How answers of queue, worker and warehouse become three words."""

import asyncio

import msgspec
import pytest

from gateway.core.status import Word, WorkerStatus, judge_worker
from gateway.health import Health
from gateway.single_flight import SingleFlight
from tests.support.poll import poll_until


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ({"heartbeat_age_s": 0.5, "destinations": {}}, "ok"),
        ({"heartbeat_age_s": 29.9, "destinations": {"warehouse": {"state": "ok"}}}, "ok"),
        ({"heartbeat_age_s": 30.0, "destinations": {}}, "error"),
        ({"heartbeat_age_s": 1, "destinations": {"warehouse": {"breaker": "open"}}}, "degraded"),
        ({"heartbeat_age_s": 1, "destinations": {"warehouse": {"state": "degraded"}}}, "degraded"),
        ({"heartbeat_age_s": 1, "destinations": {"warehouse": {"backlog_age_s": 61}}}, "degraded"),
        ({"heartbeat_age_s": 40, "destinations": {"warehouse": {"breaker": "open"}}}, "error"),
    ],
)
def test_worker_is_judged_by_its_status(status: dict[str, object], word: str) -> None:
    assert judge_worker(msgspec.convert(status, WorkerStatus)).word == word


@pytest.mark.parametrize(
    ("words", "is_well"),
    [
        (("ok", "ok", "ok"), True),
        (("degraded", "ok", "ok"), False),
        (("ok", "unknown", "ok"), False),
        (("ok", "ok", "error"), False),
    ],
)
def test_health_is_well_only_when_all_three_are_ok(
    words: tuple[Word, Word, Word], *, is_well: bool
) -> None:
    assert Health(*words).is_well is is_well


async def test_single_flight_asks_once_when_many_ask_at_once() -> None:
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


async def test_single_flight_asks_again_when_the_answer_is_old_or_failed() -> None:
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


async def test_single_flight_gives_an_old_answer_at_once_and_renews_it_behind_it() -> None:
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


async def test_single_flight_forgets_the_oldest_when_it_is_full() -> None:
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
