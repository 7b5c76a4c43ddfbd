"""The parking lot: what waits for Amplitude survives, in order, within its bound."""

import asyncio
import resource
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from worker.core.holds import EVERYBODY, Hold
from worker.lot import Lot, LotError, LotFullError
from worker.lot_rows import ToPark
from worker.troubles import sentences

MIB = 1024 * 1024
THROTTLED = Hold(reason="throttled_user", detail="429", since=1.0, until=2.0)
DOWN = Hold(reason="unavailable", detail="503", since=1.0, until=2.0)


def rows(*users: str, tenant: str = "acme", first: int = 0, size: int = 10) -> list[ToPark]:
    return [
        ToPark(tenant, user, f"event-{first + number}", "2026-01-01T00:00:00.000000", b"x" * size)
        for number, user in enumerate(users)
    ]


async def opened(path: Path, *, max_bytes: int = MIB) -> Lot:
    lot = Lot(path, max_bytes=max_bytes)
    assert await lot.open(asyncio.Event())
    return lot


async def park_until_refused(lot: Lot) -> int:
    """Park events of one user until the disk is full; return how many were taken."""
    taken = 0
    while True:
        try:
            await lot.park(rows(*"u" * 20, first=taken, size=4_000), {("acme", "u"): DOWN})
        except LotError:
            return taken
        taken += 20


async def ids(lot: Lot, users: list[str] | None = None, tenant: str = "acme") -> list[str]:
    return [row.event_id for row in await lot.page(tenant, users, limit=100)]


async def test_what_was_parked_is_there_in_order_after_a_restart(tmp_path: Path) -> None:
    lot = await opened(tmp_path / "lot.sqlite")
    await lot.park(rows("a", "b", "a"), {("acme", EVERYBODY): DOWN})
    await lot.close()
    again = await opened(tmp_path / "lot.sqlite")
    assert await ids(again) == ["event-0", "event-1", "event-2"]
    assert await ids(again, ["a"]) == ["event-0", "event-2"]
    assert again.hold_of("acme") == DOWN
    assert (again.events, again.count("acme"), again.tenants()) == (3, 3, ["acme"])
    await again.close()


async def test_parking_the_same_events_again_changes_nothing(tmp_path: Path) -> None:
    lot = await opened(tmp_path / "lot.sqlite")
    for _ in range(2):
        await lot.park(rows("a", "b"), {("acme", EVERYBODY): DOWN})
    assert await ids(lot) == ["event-0", "event-1"]
    assert lot.stored_bytes == 2 * (10 + 200)
    await lot.close()


async def test_two_tenants_may_have_the_same_event_id(tmp_path: Path) -> None:
    lot = await opened(tmp_path / "lot.sqlite")
    await lot.park([*rows("a"), *rows("a", tenant="other")], {})
    assert await ids(lot, ["a"]) == await ids(lot, ["a"], tenant="other") == ["event-0"]
    await lot.close()


async def test_users_with_a_hold_of_their_own_are_not_on_the_projects_page(tmp_path: Path) -> None:
    lot = await opened(tmp_path / "lot.sqlite")
    await lot.park(rows("a", "b", "a"), {("acme", EVERYBODY): DOWN, ("acme", "a"): THROTTLED})
    assert await ids(lot) == ["event-1"]
    assert await ids(lot, ["a"]) == ["event-0", "event-2"]
    await lot.close()


async def test_event_waits_under_a_hold_also_when_it_comes_while_that_hold_ends(
    tmp_path: Path,
) -> None:
    lot = await opened(tmp_path / "lot.sqlite")
    await lot.park([], {("acme", "a"): THROTTLED})
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(lot.let_go("acme", ["a"]))
        tasks.create_task(lot.park(rows("a"), {}))
    assert await ids(lot, ["a"]) == ["event-0"]
    hold = lot.hold_of("acme", "a")
    assert hold is not None
    await lot.close()
    again = await opened(tmp_path / "lot.sqlite")
    assert again.hold_of("acme", "a") == hold
    await again.close()


async def test_settled_events_leave_and_a_hold_ends_with_the_last_of_them(tmp_path: Path) -> None:
    lot = await opened(tmp_path / "lot.sqlite")
    await lot.park(rows("a", "a"), {("acme", "a"): THROTTLED})
    first, second = await lot.page("acme", ["a"], limit=10)
    await lot.settle("acme", [first.place], {})
    assert await lot.let_go("acme", ["a"]) == []
    await lot.settle("acme", [second.place], {})
    assert await lot.let_go("acme", ["a"]) == ["a"]
    assert lot.hold_of("acme", "a") is None
    assert (lot.events, lot.stored_bytes) == (0, 0)
    await lot.close()


async def test_a_projects_hold_ends_while_only_users_with_a_hold_wait(tmp_path: Path) -> None:
    lot = await opened(tmp_path / "lot.sqlite")
    await lot.park(rows("a", "b"), {("acme", EVERYBODY): DOWN, ("acme", "a"): THROTTLED})
    assert await lot.let_go("acme", [EVERYBODY]) == []
    (row,) = await lot.page("acme", None, limit=10)
    await lot.settle("acme", [row.place], {})
    assert await lot.let_go("acme", [EVERYBODY]) == [EVERYBODY]
    await lot.close()


async def test_past_the_bound_nothing_of_a_call_is_taken(tmp_path: Path) -> None:
    lot = await opened(tmp_path / "lot.sqlite", max_bytes=1_000)
    await lot.park(rows("a", "b"), {("acme", EVERYBODY): DOWN})
    with pytest.raises(LotFullError):
        await lot.park(rows("a", "b", "c", first=2), {("acme", "a"): THROTTLED})
    assert await ids(lot) == ["event-0", "event-1"]
    assert lot.hold_of("acme", "a") is None
    await lot.park([], {("acme", "a"): THROTTLED})
    assert lot.hold_of("acme", "a") == THROTTLED
    await lot.close()


async def test_a_second_process_waits_until_the_first_has_gone(tmp_path: Path) -> None:
    first = await opened(tmp_path / "lot.sqlite")
    second = Lot(tmp_path / "lot.sqlite", max_bytes=MIB)
    async with asyncio.TaskGroup() as tasks:
        opening = tasks.create_task(second.open(asyncio.Event()))
        await asyncio.sleep(0)
        assert not opening.done()
        await first.close()
    assert opening.result()
    await second.close()


async def test_a_process_that_is_told_to_stop_waits_no_longer(tmp_path: Path) -> None:
    first = await opened(tmp_path / "lot.sqlite")
    stop = asyncio.Event()
    stop.set()
    second = Lot(tmp_path / "lot.sqlite", max_bytes=MIB)
    assert not await second.open(stop)
    await second.close()
    await first.close()


async def test_a_call_that_is_cancelled_leaves_the_file_whole(tmp_path: Path) -> None:
    lot = await opened(tmp_path / "lot.sqlite")
    task = asyncio.create_task(  # noqa: TID251 - to cancel it is the test
        lot.park(rows(*["a"] * 2_000), {("acme", EVERYBODY): DOWN})
    )
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert len(await lot.page("acme", None, limit=10_000)) in {0, 2_000}
    await lot.close()


async def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    lot = await opened(tmp_path / "lot.sqlite")
    assert (tmp_path / "lot.sqlite").stat().st_mode & 0o077 == 0
    await lot.close()
    with sqlite3.connect(tmp_path / "lot.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


async def test_events_get_a_hold_when_theirs_ended_while_they_were_on_their_way(
    tmp_path: Path,
) -> None:
    """Nobody looks for events without a hold, and later ones of the same user would pass them."""
    lot = await opened(tmp_path / "lot.sqlite")
    await lot.park([], {("acme", "a"): THROTTLED, ("other", EVERYBODY): DOWN})
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(lot.let_go("acme", ["a"]))
        tasks.create_task(lot.let_go("other", [EVERYBODY]))
        tasks.create_task(lot.park([*rows("a"), *rows("b", tenant="other")], {}))
    for tenant, user in (("acme", "a"), ("other", "b")):
        hold = lot.hold_of(tenant, user)
        assert hold is not None
        assert hold.reason == "catching_up"
        assert hold.until <= time.time()
    await lot.close()
    again = await opened(tmp_path / "lot.sqlite")
    assert again.holds == lot.holds
    await again.close()


async def test_parking_tells_which_events_were_there_already(tmp_path: Path) -> None:
    lot = await opened(tmp_path / "lot.sqlite")
    holds = {("acme", EVERYBODY): DOWN}
    assert not await lot.park(rows("a", "b"), holds)
    assert await lot.park(rows("b", "c", first=1), holds) == {("acme", "event-1")}
    assert await ids(lot) == ["event-0", "event-1", "event-2"]
    await lot.close()


@pytest.mark.parametrize("users", [None, ["b", "a"]])
async def test_a_page_ends_where_its_bytes_are_enough(
    tmp_path: Path, users: list[str] | None
) -> None:
    lot = await opened(tmp_path / "lot.sqlite")
    await lot.park(rows("a", "b", "a", "b", size=100), {("acme", EVERYBODY): DOWN})
    for max_bytes, expected in ((1, 1), (100, 1), (101, 2), (300, 3), (1_000, 4)):
        page = await lot.page("acme", users, limit=100, max_bytes=max_bytes)
        assert len(page) == expected
    await lot.close()


async def test_a_hold_that_ended_long_ago_and_has_no_events_is_no_trouble(tmp_path: Path) -> None:
    """A tenant that sends nothing makes no try that could show that the outage is over."""
    lot = await opened(tmp_path / "lot.sqlite")
    now = time.time()
    down = replace(DOWN, has_rows=False, until=now)
    await lot.park([], {("idle", EVERYBODY): replace(down, until=now - 600)})
    assert sentences(lot) == []
    await lot.park([], {("acme", EVERYBODY): down})
    assert [text.split(" ")[0] for text in sentences(lot)] == ["acme:"]
    await lot.park(rows("a", tenant="idle"), {("idle", EVERYBODY): replace(DOWN, until=now - 600)})
    assert [text.split(" ")[0] for text in sentences(lot)] == ["idle:", "acme:"]
    await lot.close()


async def test_a_sentence_says_why_users_wait(tmp_path: Path) -> None:
    lot = await opened(tmp_path / "lot.sqlite")
    quota = replace(THROTTLED, reason="daily_quota")
    await lot.park(rows("a"), {("acme", "a"): THROTTLED})
    assert sentences(lot) == ["acme: 1 user waits (throttled_user); 1 event is parked"]
    await lot.park(rows("b", first=1), {("acme", "b"): quota})
    await lot.park(rows("c", first=2), {("acme", "c"): quota})
    assert sentences(lot) == [
        "acme: 3 users wait (daily_quota 2, throttled_user 1); 3 events are parked"
    ]
    await lot.close()


async def test_nothing_is_taken_in_once_the_file_was_deleted(tmp_path: Path) -> None:
    path = tmp_path / "lot.sqlite"
    lot = await opened(path)
    await lot.park(rows("a"), {("acme", EVERYBODY): DOWN})
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(LotError, match="was deleted or replaced"):
        await lot.park(rows("b", first=1), {})
    assert await ids(lot) == ["event-0"]
    (tmp_path / "elsewhere").rename(path)
    await lot.park(rows("b", first=1), {})
    assert await ids(lot) == ["event-0", "event-1"]
    await lot.close()


async def test_what_a_full_disk_did_not_take_is_not_counted_and_comes_in_order_later(
    tmp_path: Path,
) -> None:
    lot = await opened(tmp_path / "lot.sqlite", max_bytes=100 * MIB)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
    try:
        taken = await park_until_refused(lot)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert lot.events == taken > 0
    await lot.park(rows("u", first=taken), {})
    found = [row.event_id for row in await lot.page("acme", ["u"], limit=10_000)]
    assert found == [f"event-{number}" for number in range(taken + 1)]
    await lot.close()
