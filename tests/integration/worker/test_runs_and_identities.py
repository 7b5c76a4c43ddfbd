"""Runs that were asked for, and who anonymous visitors turned out to be, in the warehouse."""

import uuid
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec
import pytest

from gateway.sources.shopify import read
from sluice.core.envelope import Rows, seal
from sluice.core.event import Candidate, Event, format_ts, stamp
from sluice.core.tenant import Tenant
from sluice.warehouse.migrate import migrations, statements
from sluice.warehouse.stats import read_errors
from sluice.workflows.core.runs import RUN_ID, Run, RunState, new_run_id, run_time
from tests.support.shopify import sample
from tests.support.worker_rig import TENANT, Rig, hours_ago
from worker.core.old_runs import carried_over
from worker.encoding import frames

ASKED_AT = datetime.now(UTC).replace(microsecond=250_000) - timedelta(days=3)
OLD = {
    "tenant": TENANT,
    "type": "erase_user",
    "state": "pending",
    "source": "shopify",
    "requested_at": format_ts(ASKED_AT),
    "due_at": format_ts(ASKED_AT + timedelta(days=30)),
    "input": '{"email":"nora@example.com"}',
}


def old(**members: str) -> dict[str, str]:
    return {**OLD, "run_id": str(uuid.uuid4()), **members}


OLD_RUNS = (
    old(),
    old(type="export_user", input="{}"),
    old(type="erase_shop", input='{"shop_domain":"acme-tea.myshopify.com"}'),
)
COLUMNS = (
    "SELECT run_id, config_id, type, name, workflow_id, source, state, toString(created_at),"
    " inputs, request_key, toString(due_at), epoch, seq FROM workflow_runs FINAL"
    " WHERE tenant = 'acme' ORDER BY run_id"
)


async def test_request_that_was_queued_before_there_were_commands_becomes_a_run(rig: Rig) -> None:
    data = msgspec.json.Encoder().encode_lines(OLD_RUNS)
    rows = Rows("events", len(OLD_RUNS), data)
    sealed = seal(rows, envelope_id=str(uuid.uuid4()))
    async with rig.worker():
        for _ in range(2):
            await rig.queue.publish("events", [msgspec.structs.replace(sealed, kind="runs")])
            await rig.drained()
    queued = await rig.rows(COLUMNS)
    assert len(queued) == 3
    erase = next(row for row in queued if row[2] == "erase" and "unproven" not in row[8])
    assert RUN_ID.fullmatch(erase[0])
    assert erase[0].startswith(new_run_id(ASKED_AT, "")[:18])
    inputs = '{"shopify":{"request":"customers/redact","email":"nora@example.com"}}'
    assert erase[5:9] == ("shopify", "scheduled", run_time(ASKED_AT).replace("T", " "), inputs)
    # What was stored in time becomes the very same by the migration.
    await rig.warehouse.command("TRUNCATE TABLE workflow_runs")
    await rig.warehouse.insert_rows("runs", frames(OLD_RUNS), columns=list(OLD_RUNS[0]))
    done = {**OLD_RUNS[0], "run_id": str(uuid.uuid4()), "state": "done"}
    await rig.warehouse.insert_rows("runs", frames([done]), columns=list(done))
    text = dict(migrations())["0010_erasures"]
    for _ in range(2):
        for statement in statements(text, durable=False):
            await rig.warehouse.command(statement)
    assert await rig.rows(COLUMNS) == queued


async def test_run_with_a_date_stands_before_the_errors_of_its_tenant_until_it_is_done(
    rig: Rig,
) -> None:
    async with rig.worker():
        await rig.drained()
    first = carried_over(msgspec.json.encode(OLD_RUNS[0]))
    change = partial(msgspec.structs.replace, first)
    later = run_time(ASKED_AT + timedelta(hours=1))
    runs = [
        first,
        change(run_id="wf-20260502-00000-aaaaa", created_at=later),
        change(tenant="other"),
        change(run_id="wf-20260502-00000-bbbbb", due_at=None),
    ]
    columns = list(Run.__struct_fields__)
    await rig.warehouse.insert_rows("workflow_runs", frames(runs), columns=columns)
    (pending,) = await read_errors(rig.warehouse, TENANT, 50)
    assert pending.error_type == "privacy_request_pending"
    assert pending.occurrences == 2
    assert pending.ts == f"{later}000Z"
    due = f"{ASKED_AT + timedelta(days=30):%Y-%m-%d}"
    assert pending.detail == f"2 requests of type erase not done yet; the first is due by {due}."
    assert "nora" not in str(pending)

    async def ended(run: Run, state: RunState) -> None:
        row = {**msgspec.to_builtins(run), "state": state, "seq": 1}
        await rig.warehouse.insert_rows("workflow_runs", frames([row]), columns=list(row))

    await ended(runs[0], "failed")
    assert (await read_errors(rig.warehouse, TENANT, 50))[0].occurrences == 2
    await ended(runs[1], "succeeded")
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
