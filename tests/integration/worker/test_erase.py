"""The built-in ``erase``: a person is gone everywhere, and everybody else is still there."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.sources.shopify import read
from sluice.core.envelope import encode, seal
from sluice.core.erasures import digest_of
from sluice.core.errors import ErrorRecord
from sluice.core.event import Candidate, Event, format_ts, stamp
from sluice.core.tenant import Tenant
from sluice.tenants import TenantsFile
from sluice.warehouse import erasures, upkeep
from sluice.warehouse.client import TIMEOUTS_S
from sluice.workflows.core.runs import Start
from tests.support.amplitude import AmplitudeProject
from tests.support.builtin_runs import new_run as new_builtin_run
from tests.support.builtin_steps import Steps, new_run, tools_of
from tests.support.forwarding_rig import ForwardingRig, forwarding
from tests.support.poll import poll_until
from tests.support.shopify import SHOP, sample
from tests.support.worker_rig import TENANT, Place, Rig, hours_ago, make_event
from worker.core.letters import Letter, letter_of_row
from worker.encoding import frames
from worker.erasures import Erasures
from worker.lot import Lot
from worker.lot_rows import ToPark
from worker.rollups import Rollups
from worker.workflows.builtin import StepError
from worker.workflows.builtins import data_request
from worker.workflows.builtins.erase import BUILTIN

QUICK = {"erase_settle_s": 0.05, "erase_backlog_wait_s": 0.2}
KNOWN_S = 2.5
"""Longer than a worker that is running needs to know of an erasure."""
NORA = "nora@example.com"
NEIGHBOURS = (
    "nora@example.co",
    "nora@example.com.au",
    "Nora@example.com",
    "xnora@example.com",
    " nora@example.com",
    "nora@exаmple.com",  # noqa: RUF001 - a Cyrillic letter is the point
    "no\u0301ra@example.com",
    "nóra@example.com",
)


@pytest.fixture
async def rig(place: Place) -> AsyncIterator[Rig]:
    async with place.rig(**QUICK) as opened:
        tenants = TenantsFile(opened.settings.tenants_path)
        tenants.add_tenant(TENANT)
        tenants.add_tenant("other")
        yield opened


def erasing(rig: Rig, *user_ids: str, times: int = 1, **shopify: Any) -> Steps:
    inputs: dict[str, Any] = {"user_ids": list(user_ids)} if user_ids else {}
    if shopify:
        inputs["shopify"] = shopify
    return Steps(BUILTIN, tools_of(rig), new_run("erase", seed=str(times)), inputs, times=times)


def identified(user_id: str, **more: Any) -> Event:
    return make_event(
        event_type="context_identified", user_id=user_id, payload=b'{"name":"x"}', **more
    )


async def users_of(rig: Rig, table: str = "events") -> dict[tuple[str, str], int]:
    rows = await rig.rows(f"SELECT tenant, user_id, count() FROM {table} GROUP BY ALL")  # noqa: S608
    return {(tenant, user): count for tenant, user, count in rows}


async def test_person_is_gone_from_every_table_and_neighbours_are_untouched(rig: Rig) -> None:
    destination = rig.destination()
    of_nora = [
        make_event(user_id=NORA, received_at=hours_ago(3), client_id="a-1"),
        make_event(user_id=NORA, received_at=hours_ago(2)),
        identified(NORA, received_at=hours_ago(1)),
    ]
    others = [make_event(user_id=user, received_at=hours_ago(2)) for user in NEIGHBOURS]
    others += [identified(user, received_at=hours_ago(2)) for user in NEIGHBOURS]
    others += [make_event(user_id=NORA, tenant="other", received_at=hours_ago(2))]
    await rig.deliver(destination, *of_nora, *others)
    before = await rig.stats("24h")
    certificate = await erasing(rig, NORA).all()
    assert await users_of(rig) == {(TENANT, user): 2 for user in NEIGHBOURS} | {("other", NORA): 1}
    traits = await users_of(rig, "users")
    assert traits == {(TENANT, user): 1 for user in NEIGHBOURS}
    assert await rig.rows("SELECT count() FROM event_keys") == [(0,)]
    after = await rig.stats("24h")
    assert (before.total_events, after.total_events) == (19, 16)
    deleted = {one["place"]: one["deleted"] for one in certificate["places"]}
    assert deleted == {
        "clickhouse.events": 3,
        "clickhouse.event_keys": 1,
        "clickhouse.event_duplicates": 0,
        "clickhouse.outcomes": 0,
        "clickhouse.user_traits": 2,
        "clickhouse.errors": 0,
        "clickhouse.dead_letters": 0,
        "clickhouse.workflow_runs": 0,
    }
    assert {one["remaining"] for one in certificate["places"]} == {0}
    assert NORA not in msgspec.json.encode(certificate).decode()


async def insert(rig: Rig, table: str, *rows: Any) -> None:
    """Insert rows past the worker, a part for each."""
    for row in rows:
        columns = list(row if isinstance(row, dict) else row.__struct_fields__)
        await rig.warehouse.insert_rows(table, frames([row]), columns=columns)


async def test_parts_that_are_not_merged_lose_the_person_and_bring_nobody_back(rig: Rig) -> None:
    destination = rig.destination()
    event = make_event(user_id=NORA, received_at=hours_ago(2), client_id="a-1")
    kept = make_event(user_id="ivo", received_at=hours_ago(2))
    await rig.deliver(destination, event, kept)
    never = "ALTER TABLE events MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 1"
    await rig.warehouse.command(never)
    await insert(rig, "events", event, event, event)
    assert await rig.rows("SELECT count() FROM events WHERE user_id != 'ivo'") == [(4,)]
    certificate = await erasing(rig, NORA).all()
    assert certificate["places"][0]["deleted"] == 1
    assert await users_of(rig) == {(TENANT, "ivo"): 1}
    stats = await rig.stats("24h")
    assert (stats.total_events, stats.unique_users) == (1, 1)
    assert await rig.rows("SELECT DISTINCT count() FROM rollups GROUP BY hour, event_type") == [
        (1,)
    ]


async def test_hour_that_is_counted_in_slots_loses_the_person_in_each_of_its_spans(
    rig: Rig,
) -> None:
    destination = rig.destination()
    destination.rollups = Rollups(rig.warehouse, many_events=1)
    start = hours_ago(2).replace(minute=0)
    for second in (0, 9, 10, 1_800, 3_599):
        received_at = start + timedelta(seconds=second)
        events = [make_event(user_id=user, received_at=received_at) for user in (NORA, "ivo")]
        await rig.deliver(destination, *events)
        await destination.rollups.recompute()
    await destination.rollups.touch([(TENANT, f"{start:%Y-%m-%dT%H}")])
    await destination.rollups.recompute()
    of_each = "SELECT span_s, uniqMerge(users) FROM rollup_spans GROUP BY span_s ORDER BY span_s"
    lengths = [10, 300, 3_600, 21_600, 86_400]
    assert await rig.rows(of_each) == [(length, 2) for length in lengths]
    await erasing(rig, NORA).all()
    assert await rig.rows(of_each) == [(length, 1) for length in lengths]
    for window in ("24h", "7d"):
        stats = await rig.stats(window)
        assert (stats.total_events, stats.unique_users) == (5, 1)
    assert not await rig.warehouse.fetch(upkeep.STALE_HOURS, limit=1)


async def test_visitor_goes_with_the_person_only_if_he_was_nobody_else(rig: Rig) -> None:
    destination = rig.destination()

    def seen(user_id: str, visitor: str) -> Event:
        event = make_event(user_id=user_id, received_at=hours_ago(2))
        return msgspec.structs.replace(event, anonymous_id=visitor)

    await rig.deliver(
        destination,
        seen(NORA, "own"),
        seen("anon_own", "own"),
        seen("anon_own", ""),
        seen(NORA, "shared"),
        seen("ivo", "shared"),
        seen("anon_shared", "shared"),
        seen("anon_else", "else"),
        seen("anon_own2", "own2"),
    )
    certificate = await erasing(rig, NORA).all()
    assert certificate["visitors"] == {"erased": 1, "shared_and_kept": 1}
    assert await users_of(rig) == {
        (TENANT, user): 1 for user in ("ivo", "anon_shared", "anon_else", "anon_own2")
    }


async def test_dead_letters_errors_and_outcomes_of_the_person_go_too(rig: Rig) -> None:
    destination = rig.destination()
    stored = make_event(user_id=NORA, received_at=hours_ago(3))
    dead = make_event(user_id=NORA, received_at=hours_ago(2))
    other = make_event(user_id="ivo", received_at=hours_ago(2))
    await rig.deliver(destination, stored)

    def letter(event: Event) -> Letter:
        row = msgspec.json.encode(event)
        return letter_of_row(row, reason="r", envelope_id="e", attempt=1, destination="amplitude")

    def record(user: str | None, event_id: str | None = None) -> ErrorRecord:
        at = format_ts(hours_ago(1))
        return ErrorRecord(
            tenant=TENANT, error_id=str(uuid.uuid4()), ts=at, source="s", error_type="t",
            detail="d", user_id=user, event_id=event_id,
        )  # fmt: skip

    def outcome(event: Event) -> dict[str, str]:
        return {
            "tenant": TENANT, "event_id": event.event_id, "destination": "amplitude",
            "outcome": "dead", "reason": "", "detail": "", "at": event.received_at,
            "received_at": event.received_at,
        }  # fmt: skip

    await insert(rig, "dead_letters", letter(dead), letter(dead), letter(other))
    await insert(rig, "errors", record(NORA), record(None, dead.event_id), record("ivo"))
    await insert(rig, "errors", record(None))
    await insert(rig, "outcomes", outcome(stored), outcome(dead), outcome(other))
    certificate = await erasing(rig, NORA).all()
    deleted = {one["place"].partition(".")[2]: one["deleted"] for one in certificate["places"]}
    assert (deleted["dead_letters"], deleted["errors"], deleted["outcomes"]) == (1, 2, 2)
    for table, left in {"dead_letters": 1, "errors": 2, "outcomes": 1}.items():
        assert await rig.count(table) == left


async def test_every_step_may_be_called_twice_and_the_certificate_is_the_same(rig: Rig) -> None:
    """A worker that dies after a call, and before it noted it, is followed by one that calls."""
    certificates = []
    for times, user in enumerate(("nora", "nina"), start=1):
        events = [
            make_event(user_id=user, received_at=hours_ago(n), client_id=f"{user}-{n}")
            for n in (1, 2, 3)
        ]
        await rig.deliver(rig.destination(), *events, identified("ivo", received_at=hours_ago(1)))
        certificates.append(dict(await erasing(rig, user, times=times).all()))
    for one in certificates:
        for name in ("run_id", "requested_at", "cut_off", "people_sha256", "files"):
            one.pop(name)
        one["rollups"].pop("recomputed_at")
        for where in one["places"]:
            where.pop("checked_at")
    assert certificates[0] == certificates[1]
    assert certificates[0]["places"][0]["deleted"] == 3
    assert await users_of(rig) == {(TENANT, "ivo"): 2}


async def test_what_waits_in_the_queue_does_not_come_back_and_what_comes_later_is_kept(
    rig: Rig,
) -> None:
    await rig.deliver(rig.destination(), make_event(user_id=NORA, received_at=hours_ago(1)))
    waiting = [make_event(user_id=NORA), identified(NORA), make_event(user_id="ivo")]
    await rig.publish(*waiting, make_event(user_id=NORA, client_id="named"))
    record = ErrorRecord(
        tenant=TENANT, error_id=str(uuid.uuid4()), ts=format_ts(datetime.now(UTC)), source="s",
        error_type="t", detail="d", user_id=NORA,
    )  # fmt: skip
    rows = encode("errors", [record, msgspec.structs.replace(record, user_id="ivo")])
    await rig.queue.publish("events", [seal(one, envelope_id=str(uuid.uuid4())) for one in rows])
    certificate = await erasing(rig, NORA).all()
    assert certificate["on_the_way"]["older_messages_waiting"]["warehouse"] is True
    async with rig.worker():
        await rig.publish(make_event(user_id=NORA, event_type="came_back"))
        await rig.drained()
    assert await rig.rows("SELECT user_id, event_type FROM events ORDER BY user_id") == [
        ("ivo", "page_viewed"),
        (NORA, "came_back"),
    ]
    assert await rig.rows("SELECT user_id FROM errors") == [("ivo",)]
    assert await rig.count("users") == 0
    assert await rig.count("event_keys") == 0
    assert await rig.count("dead_letters") == 0
    gone = await rig.rows("SELECT toString(event_id) FROM accepted_erased WHERE run_id = ''")
    assert len(gone) == 3


async def test_worker_that_is_running_stores_nothing_of_the_person_meanwhile(place: Place) -> None:
    """Events from before the cut-off that come while the run goes on, through a live worker."""
    async with place.rig(erase_settle_s=KNOWN_S, erase_backlog_wait_s=5) as rig:
        TenantsFile(rig.settings.tenants_path).add_tenant(TENANT)
        async with rig.worker():
            await rig.publish(make_event(user_id=NORA), make_event(user_id="ivo"))
            await rig.drained()
            steps = erasing(rig, NORA)
            await steps.until("aim")
            at = datetime.fromtimestamp(steps.started_at - 1, UTC)
            await rig.publish(make_event(user_id=NORA, received_at=at))
            await steps.all_from("aim")
            await rig.publish(make_event(user_id=NORA, received_at=at))
            await rig.publish(make_event(user_id=NORA, event_type="new"))
            await rig.drained()
        found = await rig.rows("SELECT user_id, event_type FROM events ORDER BY user_id")
        assert found == [("ivo", "page_viewed"), (NORA, "new")]


async def test_event_that_came_in_spite_of_all_is_found_deleted_and_counted(rig: Rig) -> None:
    """As by a worker that was paused in an insert for longer than a run waits."""
    events = [make_event(user_id=NORA, received_at=hours_ago(n)) for n in (1, 2)]
    await rig.deliver(rig.destination(), events[0])
    steps = erasing(rig, NORA)
    await steps.until("verify")
    await insert(rig, "events", events[1])
    rollups = rig.destination().rollups
    await rollups.touch([(TENANT, events[1].received_at[:13])])
    await rollups.recompute()
    certificate = await steps.all_from("verify")
    assert certificate["places"][0]["deleted"] == 2
    assert await rig.count("events") == 0
    assert (await rig.stats("24h")).total_events == 0
    assert await rig.rows("SELECT DISTINCT event_type FROM rollups") == [("",)]


async def test_unknown_person_gets_a_certificate_of_nothing(rig: Rig) -> None:
    await rig.deliver(rig.destination(), make_event(user_id="ivo"))
    certificate = await erasing(rig, NORA).all()
    assert {one["deleted"] for one in certificate["places"]} == {0}
    assert certificate["amplitude"] == {"state": "not configured"}
    assert await rig.count("events") == 1


@pytest.mark.parametrize(
    ("shopify", "words"),
    [
        ({"request": "customers/redact", "unreadable": "body_not_json"}, "could not be read"),
        ({"request": "shop/redact", "shop_domain": SHOP, "unproven": True}, "before such requests"),
        ({"request": "customers/redact", "shop_domain": SHOP}, "names nobody"),
        ({"request": "shop/redact"}, "names nobody"),
    ],
)
async def test_request_that_names_nobody_fails_and_says_what_to_do(
    rig: Rig, shopify: dict[str, Any], words: str
) -> None:
    await rig.deliver(rig.destination(), make_event(user_id=NORA))
    with pytest.raises(StepError, match=words) as failed:
        await erasing(rig, **shopify).all()
    assert failed.value.attribution == "customer"
    assert await rig.count("events") == 1


def delivered(topic: str, body: bytes, *, full_body: bool = False, shop: str = SHOP) -> Event:
    headers = {
        "X-Shopify-Topic": topic,
        "X-Shopify-Webhook-Id": str(uuid.uuid4()),
        "X-Shopify-Shop-Domain": shop,
    }
    tenant = Tenant(TENANT, shopify_full_body=full_body)
    candidate = read(headers, body, tenant)
    assert isinstance(candidate, Candidate)
    at = format_ts(hours_ago(2))
    return stamp(candidate, tenant=TENANT, source="shopify", received_at=at, new_id="")


NORAS = (1, 2, 3, 11, 12, 13, 14)
"""Samples of the reference that are of nora@example.com, 7001, and orders 5001 and 5002."""
OTHERS = (4, 5, 6, 7, 8, 9, 10, 18)


@pytest.mark.parametrize("full_body", [False, True], ids=["mapped", "full body"])
async def test_case_50_customer_of_a_shop_is_gone_and_other_customers_stay(
    rig: Rig, full_body: bool
) -> None:
    mine = [delivered(*sample(number), full_body=full_body) for number in NORAS]
    others = [delivered(*sample(number), full_body=full_body) for number in OTHERS]
    cart = b'{"token":"hWN1cart77","line_items":[]}'
    mine.append(delivered("carts/update", cart, full_body=full_body))
    same_number = make_event(user_id="7001", received_at=hours_ago(2))
    await rig.deliver(rig.destination(), *mine, *others, same_number)
    redact = msgspec.json.decode(sample(15)[1])
    asked = {
        "request": "customers/redact",
        "shop_domain": SHOP,
        "email": redact["customer"]["email"],
        "customer_id": str(redact["customer"]["id"]),
        "order_ids": [str(order) for order in redact["orders_to_redact"]],
    }
    waiting = [msgspec.structs.replace(one, event_id=str(uuid.uuid4())) for one in mine[:-1]]
    await rig.publish(*waiting)
    certificate = await erasing(rig, **asked).all()
    async with rig.worker():
        await rig.drained()
    left = {event_id for (event_id,) in await rig.rows("SELECT toString(event_id) FROM events")}
    assert left == {event.event_id for event in (*others, same_number)}
    assert certificate["places"][0]["deleted"] == len(mine)
    assert certificate["people_sha256"] == sorted(set(certificate["people_sha256"]))
    assert "nora" not in str(certificate)


async def test_customer_whom_a_full_body_names_by_gid_alone_is_gone_too(rig: Rig) -> None:
    def tagged(number: int) -> Event:
        body = {"customerId": f"gid://shopify/Customer/{number}", "tags": ["vip"]}
        return delivered("customer.tags_added", msgspec.json.encode(body), full_body=True)

    mine, others = tagged(7001), [tagged(70010), make_event(user_id="7001")]
    await rig.deliver(rig.destination(), mine, *others)
    asked: dict[str, Any] = {"request": "customers/redact", "customer_id": "7001"}
    given = Steps(data_request.BUILTIN, tools_of(rig), new_run("data-request"), {"shopify": asked})
    assert (await given.all())["records"]["events"] == 1
    await rig.publish(msgspec.structs.replace(mine, event_id=str(uuid.uuid4())))
    await erasing(rig, **asked).all()
    async with rig.worker():
        await rig.drained()
    left = {event_id for (event_id,) in await rig.rows("SELECT toString(event_id) FROM events")}
    assert left == {event.event_id for event in others}


async def test_shop_is_erased_alone_with_all_that_came_from_it(rig: Rig) -> None:
    mine = [delivered(*sample(number)) for number in (*NORAS, *OTHERS)]
    others = [delivered(*sample(number), shop="other.myshopify.com") for number in (1, 7, 18)]
    others.append(make_event(user_id=NORA, received_at=hours_ago(2)))
    await rig.deliver(rig.destination(), *mine, *others)
    await erasing(rig, request="shop/redact", shop_domain=SHOP).all()
    left = {event_id for (event_id,) in await rig.rows("SELECT toString(event_id) FROM events")}
    assert left == {event.event_id for event in others}


async def test_certificate_of_a_shop_says_what_stays_because_it_names_no_shop(rig: Rig) -> None:
    """Full bodies do not; only where the tenant takes one shop alone they can be but its own."""
    events = [delivered(*sample(number), full_body=True) for number in (1, 7)]
    await rig.deliver(rig.destination(), *events, delivered(*sample(2)))
    asked: dict[str, Any] = {"request": "shop/redact", "shop_domain": SHOP}
    certificate = await erasing(rig, **asked).all()
    assert certificate["places"][0]["deleted"] == 1
    assert certificate["shop"] == {"unnamed_and_kept": 2}
    TenantsFile(rig.settings.tenants_path).set_value(TENANT, "shopify_shop_domains", SHOP)
    certificate = await erasing(rig, times=2, **asked).all()
    assert certificate["places"][0]["deleted"] == 2
    assert certificate["shop"] == {"unnamed_and_kept": 0}


@pytest.fixture
async def there(place: Place, amplitude: AmplitudeProject) -> AsyncIterator[ForwardingRig]:
    async with forwarding(place, amplitude, **QUICK) as opened:
        yield opened


async def test_amplitude_is_asked_to_delete_the_user_and_his_visitor(there: ForwardingRig) -> None:
    there.set(secret_key="secret")
    visitor = msgspec.structs.replace(make_event(user_id="anon_v"), anonymous_id="v")
    known = msgspec.structs.replace(make_event(user_id=NORA), anonymous_id="v")
    events = [visitor, known, make_event(user_id="ivo")]
    async with there.rig.worker():
        await there.rig.publish(*events)
        await there.become("delivered", *events)
    certificate = await erasing(there.rig, NORA, "never-seen").all()
    said = certificate["amplitude"]
    assert (said["state"], said["users"], said["unknown_there"]) == ("asked", 3, 1)
    [day] = said["days"]
    jobs = (await there.amplitude.get("/api/2/deletions/users", start_day=day, end_day=day)).json
    assert len(jobs[0]["amplitude_ids"]) == 2
    assert await there.rig.rows("SELECT count() FROM outcomes") == [(1,)]


async def test_nothing_is_erased_when_amplitude_could_not_be_asked(there: ForwardingRig) -> None:
    await there.rig.deliver(there.rig.destination(), make_event(user_id=NORA))
    with pytest.raises(StepError, match=r"amplitude\.secret_key") as failed:
        await erasing(there.rig, NORA).all()
    assert failed.value.attribution == "customer"
    assert await there.rig.count("erasures") == 0
    assert await there.rig.count("events") == 1


async def test_events_in_a_workers_lot_are_taken_out_and_sent_to_nobody(
    there: ForwardingRig,
) -> None:
    there.set(secret_key="secret")
    await there.amplitude.set(throttle={"user_ids": [NORA, "ivo"]})
    events = [make_event(user_id=user) for user in (NORA, NORA, "ivo")]
    async with there.rig.worker() as address:
        await there.rig.publish(*events)
        await there.has_parked(address, 3)
        await there.rig.drained()
        tools_ = tools_of(there.rig, erase_settle_s=KNOWN_S, erase_backlog_wait_s=5)
        await Steps(BUILTIN, tools_, new_run("erase"), {"user_ids": [NORA]}).all()
        await there.has_parked(address, 1)
        await there.amplitude.set(release=True)
        await there.become("delivered", events[2])
    assert await there.taken(NORA) == []
    assert await there.rig.rows("SELECT count() FROM outcomes FINAL") == [(1,)]


async def test_events_in_the_queue_of_forwarding_are_sent_to_nobody(there: ForwardingRig) -> None:
    there.set(secret_key="secret")
    await there.rig.deliver(there.rig.destination(), make_event(user_id="ivo"))
    await there.rig.publish(make_event(user_id=NORA), make_event(user_id="ivo"))
    await erasing(there.rig, NORA).all()
    new = make_event(user_id=NORA, event_type="came_back")
    async with there.rig.worker():
        await there.rig.publish(new)
        await there.drained()
        await there.become("delivered", new)
    assert await there.taken(NORA) == [new.event_id]
    assert len(await there.taken("ivo")) == 2


async def test_data_request_gives_exactly_what_is_held_of_the_person(rig: Rig) -> None:
    payload = '{"a":1.50,"b":"ü/\\u00e9 \\"x\\"","c":[1e3]}'.encode()
    events = [
        make_event(user_id=NORA, received_at=hours_ago(n), payload=payload, client_id=f"c{n}")
        for n in (3, 2)
    ]
    visitor = make_event(user_id="anon_v", received_at=hours_ago(1))
    known = msgspec.structs.replace(identified(NORA, received_at=hours_ago(1)), anonymous_id="v")
    others = [make_event(user_id=user, received_at=hours_ago(2)) for user in NEIGHBOURS]
    others.append(make_event(user_id=NORA, tenant="other"))
    await rig.deliver(rig.destination(), *events, visitor, known, *others)
    await insert(rig, "events", events[0])
    run = new_run("data-request")
    steps = Steps(data_request.BUILTIN, tools_of(rig), run, {"user_id": NORA})
    outputs = await steps.all()
    path = tools_of(rig).files.path(TENANT, run.run_id, "person.ndjson")
    assert path is not None
    lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    held = [line for line in lines if line["table"] == "events"]
    assert [one["event_id"] for one in held[:2]] == [event.event_id for event in events]
    assert {one["event_id"] for one in held[2:]} == {visitor.event_id, known.event_id}
    assert len(held) == 4
    assert [one["payload"].encode() for one in held[:2]] == [payload, payload]
    tables = [line["table"] for line in lines]
    counts = {table: tables.count(table) for table in outputs["records"]}
    assert outputs["records"] == counts
    assert (counts["identities"], counts["users"]) == (1, 1)
    assert outputs["files"][0]["size_bytes"] == path.stat().st_size
    assert NORA not in str(outputs)
    await erasing(rig, NORA).all()
    assert path.exists()  # its run is not in the warehouse, so that nobody knows of it


async def test_data_request_waits_for_an_erasure_and_keeps_no_file_of_before(rig: Rig) -> None:
    await rig.deliver(rig.destination(), make_event(user_id=NORA, received_at=hours_ago(2)))
    asked = new_builtin_run(data_request.BUILTIN, rig, inputs={"user_id": NORA})
    path = asked.tools.files.path(TENANT, asked.run.run_id, "person.ndjson")
    assert path is not None
    noted = {"tenant": TENANT, "run_id": "wf", "what": "user", "cut_off": "2026-01-01T00:00:00"}
    noted["digest"] = digest_of(TENANT, "user", NORA)
    noted["noted_at"] = format_ts(datetime.now(UTC) + timedelta(seconds=2))
    await insert(rig, "erasures", noted)
    assert not await asked.call()  # noted while it collected
    assert not path.exists()
    erase = erasing(rig, NORA)
    state = {**msgspec.to_builtins(erase.run), "state": "in progress", "seq": 1}
    await insert(rig, "workflow_runs", state)
    await erase.until("delete")
    assert not await asked.call()
    assert not path.exists()
    await erase.all_from("delete")
    await insert(rig, "workflow_runs", {**state, "state": "succeeded", "seq": 2})
    assert (await asked.finish())["records"]["events"] == 0


async def test_other_runs_that_ended_no_longer_name_the_person(rig: Rig) -> None:
    await rig.deliver(rig.destination(), make_event(user_id="ivo"))
    members = {"cohortFile": f"amplitude_id,user_id\n17,{NORA}\n18,ivo\n"}
    told = {
        "as an input": ({"userId": NORA}, {}),
        "in a list": ({}, members),
        "a neighbour": ({"userId": f"{NORA}.au"}, {"cohortFile": f"1,x{NORA}\n"}),
    }
    for name, (inputs, outputs) in told.items():
        run = msgspec.structs.replace(
            new_run("amplitude.export-cohort", seed=name),
            name=name,
            state="succeeded",
            created_at=format_ts(hours_ago(1))[:23],
            inputs=msgspec.json.encode(inputs).decode(),
            outputs=msgspec.json.encode(outputs).decode(),
        )
        await insert(rig, "workflow_runs", run)
    certificate = await erasing(rig, NORA).all()
    [place] = [one for one in certificate["places"] if one["place"] == "clickhouse.workflow_runs"]
    assert (place["deleted"], place["remaining"]) == (2, 0)
    kept = await rig.rows("SELECT name, inputs FROM workflow_runs ORDER BY name")
    neighbour = msgspec.json.encode(told["a neighbour"][0]).decode()
    erased = '{"erased":true}'
    assert kept == [("a neighbour", neighbour), ("as an input", erased), ("in a list", erased)]


async def test_run_is_asked_for_ends_and_forgets_whom_it_was_about(rig: Rig) -> None:
    """Through queue, worker and engine: also an earlier data request's file is gone."""
    await rig.deliver(rig.destination(), make_event(user_id=NORA), make_event(user_id="ivo"))
    inputs = {"data-request": {"user_id": NORA}, "erase": {"user_ids": [NORA]}}
    runs = [
        msgspec.structs.replace(
            new_run(kind, seed=kind), inputs=msgspec.json.encode(given).decode()
        )
        for kind, given in inputs.items()
    ]
    async with rig.worker():
        for run in runs:
            [rows] = encode("commands", [Start(run)])
            await rig.queue.publish("commands", [seal(rows, envelope_id=str(uuid.uuid4()))])

            async def has_ended(run_id: str = run.run_id) -> tuple[str, str] | None:
                found = await rig.rows(
                    "SELECT run_id, state, error_message FROM workflow_runs FINAL"
                    " WHERE state IN ('succeeded', 'failed')"
                )
                return {one: (state, words) for one, state, words in found}.get(run_id)

            ended = await poll_until(has_ended, within_s=40, what=f"{run.type} has ended")
            assert ended == ("succeeded", "")

        async def is_forgotten() -> bool:
            [(left,)] = await rig.warehouse.fetch(erasures.NAMING_ROWS)
            return not left

        await poll_until(is_forgotten, within_s=40, what="the rows that name her are deleted")
    texts = await rig.rows("SELECT inputs, outputs, program FROM workflow_runs")
    assert NORA not in str(texts)
    assert "user_ids_sha256" in texts[1][0] or "user_ids_sha256" in texts[0][0]
    files = sorted(path.name for path in rig.settings.run_files_path.rglob("*") if path.is_file())
    assert files == ["certificate.json"]
    assert await users_of(rig) == {(TENANT, "ivo"): 1}


async def parked_in(path: Path, *events: Event) -> None:
    """Leave a lot with events in it, as a process that was killed."""
    lot = Lot(path, max_bytes=1024**2)
    assert await lot.open(asyncio.Event())
    rows = [
        ToPark(one.tenant, one.user_id, one.event_id, one.received_at, msgspec.json.encode(one))
        for one in events
    ]
    await lot.park(rows, {})
    await lot.close()


async def test_no_file_of_the_data_dir_holds_what_was_parked_of_the_person(
    there: ForwardingRig,
) -> None:
    """Neither the worker's lot, deleted rows and all, nor those of replays that were killed."""
    there.set(secret_key="secret")
    await there.amplitude.set(throttle={"user_ids": [NORA, "ivo"]})
    folder, replays = there.rig.settings.data_dir, there.rig.settings.replays_path

    def holders() -> list[str]:
        files = [path for path in folder.rglob("*") if path.is_file()]
        return sorted(path.name for path in files if NORA.encode() in path.read_bytes())

    ivo = make_event(user_id="ivo")
    await parked_in(replays / "killed.sqlite", make_event(user_id=NORA), ivo)
    await parked_in(replays / "runs" / "wf-killed.sqlite", make_event(user_id=NORA))
    async with there.rig.worker() as address:
        await there.rig.publish(*(make_event(user_id=NORA) for _ in range(50)), ivo)
        await there.has_parked(address, 51)
        await there.rig.drained()
        assert {"killed.sqlite", "wf-killed.sqlite"} < set(holders())
        tools_ = tools_of(there.rig, erase_settle_s=KNOWN_S, erase_backlog_wait_s=5)
        await Steps(BUILTIN, tools_, new_run("erase"), {"user_ids": [NORA]}).all()
        await there.has_parked(address, 1)
        await poll_until(lambda: asyncio.to_thread(lambda: not holders()), within_s=30)
    assert b"ivo" in (replays / "killed.sqlite").read_bytes()


async def test_worker_learns_of_a_visitor_whose_note_took_long(rig: Rig) -> None:
    """A statement gives what it notes the moment at which it began, and is seen when it ends."""
    await rig.deliver(rig.destination(), make_event(user_id="ivo"))
    following = Erasures(rig.warehouse)

    async def note(user_id: str, noted_at: datetime) -> None:
        digest = digest_of(TENANT, "user", user_id)
        row = {"tenant": TENANT, "run_id": "wf", "what": "user", "digest": digest}
        times = {"cut_off": "2026-01-01T00:00:00", "noted_at": format_ts(noted_at)}
        await insert(rig, "erasures", row | times)

    def knows(user_id: str) -> bool:
        return following.known.covers_user(TENANT, user_id, "2025-12-31T23:59:59.000000")

    now, stop = datetime.now(UTC), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(following.run(stop))
        await note("later", now)
        await poll_until(lambda: asyncio.to_thread(knows, "later"), within_s=30)
        await note("slow", now - timedelta(seconds=TIMEOUTS_S["upkeep"]))
        await poll_until(lambda: asyncio.to_thread(knows, "slow"), within_s=30)
        stop.set()
