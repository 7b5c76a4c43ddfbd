"""Runs that were asked for, and who anonymous visitors turned out to be, in the warehouse."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from gateway.sources.shopify import read
from sluice.core.envelope import encode, seal
from sluice.core.event import Candidate, Event, format_ts, stamp
from sluice.core.runs import RunRequest, RunRow, pending_run
from sluice.core.tenant import Tenant
from sluice.warehouse.stats import read_errors
from tests.support.shopify import sample
from tests.support.worker_rig import TENANT, Rig, hours_ago

ASKED_AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


def run(request_id: str, *, days: int = 0, tenant: str = TENANT) -> RunRow:
    request = RunRequest(request_id, "erase_user", '{"email":"nora@example.com"}')
    return pending_run(
        request, tenant=tenant, source="shopify", now=ASKED_AT + timedelta(days=days)
    )


async def store(rig: Rig, *rows: RunRow) -> None:
    envelopes = [seal(one, envelope_id=str(uuid.uuid4())) for one in encode("runs", rows)]
    await rig.queue.publish("events", envelopes)


async def test_case_48_request_that_is_repeated_is_one_run_and_keeps_its_date(rig: Rig) -> None:
    async with rig.worker():
        await store(rig, run("w-1", days=2), run("w-2"))
        await store(rig, run("w-1"), run("w-1", days=5))
        await rig.drained()
    rows = await rig.rows(
        "SELECT type, state, toString(due_at), input FROM runs FINAL ORDER BY type, due_at"
    )
    one = ("erase_user", "pending", "2026-05-31 12:00:00.000000", '{"email":"nora@example.com"}')
    assert rows == [one, one]


async def test_pending_run_stands_before_the_errors_of_its_tenant_until_it_is_done(
    rig: Rig,
) -> None:
    async with rig.worker():
        await store(rig, run("w-1"), run("w-2", days=1), run("w-3", tenant="other"))
        await rig.drained()
    (pending,) = await read_errors(rig.warehouse, TENANT, 50)
    assert pending.error_type == "privacy_request_pending"
    assert pending.occurrences == 2
    assert pending.ts == "2026-05-02T12:00:00.000000Z"
    assert pending.detail == (
        "2 requests of type erase_user not done yet; the first is due by 2026-05-31."
    )
    assert "nora" not in str(pending)
    await rig.warehouse.command(
        "INSERT INTO runs SELECT tenant, run_id, type, 'done', requested_at, due_at, source, '{}',"
        " 1 FROM runs FINAL WHERE tenant = 'acme'"
    )
    assert await read_errors(rig.warehouse, TENANT, 50) == []


def delivered(topic: str, body: bytes, minutes: int, *, tenant: str = TENANT) -> Event:
    headers = {"X-Shopify-Topic": topic, "X-Shopify-Webhook-Id": str(uuid.uuid4())}
    candidate = read(headers, body, Tenant(tenant))
    assert isinstance(candidate, Candidate)
    received_at = format_ts(hours_ago(2) + timedelta(minutes=minutes))
    return stamp(candidate, tenant=tenant, source="shopify", received_at=received_at, new_id="")


@pytest.mark.parametrize("order", [(7, 8, 9), (9, 8, 7), (8, 9, 7)], ids=str)
async def test_visitor_is_known_by_the_cart_when_a_checkout_names_him(
    rig: Rig, order: tuple[int, ...]
) -> None:
    """Samples 7 to 9: whatever their order, the abandoned checkout finds its e-mail."""
    events = [delivered(*sample(number), minutes) for minutes, number in enumerate(order)]
    other = delivered(*sample(7), 0, tenant="other")
    await rig.deliver(rig.destination(), *events, other)
    rows = await rig.rows(
        "SELECT e.event_type, e.user_id, i.user_id FROM events AS e LEFT JOIN identities AS i"
        " ON e.tenant = i.tenant AND e.user_id = i.anonymous_user_id"
        " WHERE e.tenant = 'acme' ORDER BY e.event_type"
    )
    assert rows == [
        ("checkout_abandoned", "anon_hWN1cart78", "guest@example.net"),
        ("checkout_started", "anon_hWN1cart78", "guest@example.net"),
        ("checkout_updated", "guest@example.net", ""),
    ]
    assert await rig.rows("SELECT DISTINCT tenant FROM identities") == [("acme",)]


async def test_visitor_without_a_cart_is_known_by_the_checkout(rig: Rig) -> None:
    checkout = delivered("checkouts/create", b'{"token":"co-1"}', 0)
    order = delivered(
        "orders/create",
        b'{"id":1,"email":"a@b.example","cart_token":"c-1","checkout_token":"co-1"}',
        1,
    )
    assert checkout.user_id == "anon_co-1"
    await rig.deliver(rig.destination(), checkout, order)
    rows = await rig.rows("SELECT anonymous_id, user_id FROM identities ORDER BY anonymous_id")
    assert rows == [("c-1", "a@b.example"), ("co-1", "a@b.example")]


async def test_last_user_counts_when_a_visitor_had_several(rig: Rig) -> None:
    body = b'{"id":1,"email":"%b","cart_token":"c-1"}'
    said = [delivered("orders/create", body % b"old@b.example", 0)]
    said.append(delivered("orders/create", body % b"new@b.example", 5))
    await rig.deliver(rig.destination(), *reversed(said))
    assert await rig.rows("SELECT anonymous_user_id, user_id FROM identities") == [
        ("anon_c-1", "new@b.example")
    ]
