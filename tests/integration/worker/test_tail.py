"""What a look at the events of the last seconds finds, in a real engine."""

from sluice.warehouse.migrate import migrations, statements
from sluice.warehouse.tail import TailAsk, Tailed, TailFilter, read_tail
from tests.support.poll import poll_until
from tests.support.worker_rig import TENANT, Rig, hours_ago, make_event

ALL = TailAsk(since_ms=0, reach_s=60, known={}, wanted=50)


async def look(rig: Rig, tenant: str = TENANT, ask: TailAsk = ALL) -> Tailed:
    """Look once."""
    return await read_tail(rig.warehouse, tenant, TailFilter(), ask)


async def seen(rig: Rig, count: int) -> Tailed:
    """Look until so many events are there; what is stored now waits for the next look."""

    async def enough() -> Tailed | None:
        found = await look(rig)
        return found if sum(found.groups.values()) >= count else None

    return await poll_until(enough, what=f"{count} events")


async def test_event_that_waited_for_hours_is_news_when_it_is_stored(rig: Rig) -> None:
    late, ours, theirs = (
        make_event(received_at=hours_ago(30)),
        make_event(),
        make_event(tenant="other"),
    )
    await rig.deliver(rig.destination(), late, ours, theirs)
    found = await seen(rig, 2)
    assert {event.event_id for event in found.events} == {late.event_id, ours.event_id}
    assert sum(found.groups.values()) == 2
    again = await look(rig, ask=TailAsk(since_ms=0, reach_s=60, known=found.groups, wanted=50))
    assert (again.groups, again.events) == (found.groups, [])


async def test_look_reaches_no_further_than_it_may(rig: Rig) -> None:
    await rig.deliver(rig.destination(), make_event())
    found = await seen(rig, 1)
    later = TailAsk(since_ms=found.now_ms + 1, reach_s=60, known={}, wanted=50)
    assert (await look(rig, ask=later)).groups == {}
    assert (await look(rig, ask=TailAsk(since_ms=0, reach_s=0, known={}, wanted=50))).groups == {}


async def test_row_from_before_rows_said_when_they_were_stored_is_no_news(rig: Rig) -> None:
    destination = rig.destination()
    await rig.deliver(destination, make_event(user_id="make the tables"))
    for statement in (
        "TRUNCATE TABLE events",
        "ALTER TABLE events DROP INDEX by_stored_at",
        "ALTER TABLE events DROP COLUMN stored_at",
    ):
        await rig.warehouse.command(statement)
    await rig.deliver(destination, make_event(user_id="old"))
    for name, text in migrations():
        if name in {"0008_receipts", "0012_tail"}:
            for statement in statements(text, durable=True):
                await rig.warehouse.command(statement)
    new = make_event(user_id="new")
    await rig.deliver(destination, new)
    found = await seen(rig, 1)
    assert [event.user_id for event in found.events] == ["new"]
    assert sum(found.groups.values()) == 1
