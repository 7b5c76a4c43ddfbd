"""Receipts over HTTP: where one event is, by any of its names, for its own tenant only."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from sluice.core.event import derive_event_id, format_ts
from sluice.core.outcomes import Fate, Outcome
from sluice.tenants import TenantsFile
from sluice.warehouse.client import Warehouse
from tests.support.client_app import ClientApp
from tests.support.command import sluice
from tests.support.gateway import running_gateway
from tests.support.poll import poll_until
from tests.support.ports import free_port
from tests.support.segops import (
    EVENT,
    VISIBLE_WITHIN_S,
    Answer,
    Segops,
    assert_counted,
    assert_queued,
    assert_refused,
)
from tests.support.shared import SharedParts
from tests.support.shopify import SECRET, assert_kept, open_shop, sample
from worker.encoding import frames

EVENTS = "/api/ingestion/events/"


async def when_stored(api: Segops, name: str) -> Any:
    """Wait until an event is in the warehouse, and return its receipt."""

    async def is_stored() -> Answer | None:
        answer = await api.get(EVENTS + name)
        if answer.status == 404:
            assert_refused(answer, 404, "event_unknown")
            return None
        assert answer.status == 200, answer
        return answer if answer.json["destinations"]["warehouse"]["outcome"] == "stored" else None

    answer = await poll_until(is_stored, within_s=VISIBLE_WITHIN_S, what=f"a receipt of {name}")
    return answer.json


async def test_tenant_sees_its_event_stored_and_nobody_else_sees_it(
    api: Segops, client: Segops
) -> None:
    event_id = assert_queued(await api.track({**EVENT, "event_id": "order-123"}))
    receipt = await when_stored(api, event_id)
    assert receipt["state"] == "stored"
    assert receipt["destinations"]["amplitude"]["outcome"] == "off"
    assert [step["step"] for step in receipt["trace"]] == ["received", "queued", "stored"]
    stored_at = datetime.fromisoformat(receipt["destinations"]["warehouse"]["at"])
    waited = stored_at - datetime.fromisoformat(receipt["received_at"])
    # The column counts milliseconds, and cuts.
    assert timedelta(milliseconds=-1) < waited < timedelta(seconds=VISIBLE_WITHIN_S)
    for name in ("order-123", "order-123/", event_id.upper()):
        assert (await api.get(EVENTS + name)).json == receipt
    for name in ("order-123", event_id):
        assert_refused(await client.get(EVENTS + name), 404, "event_unknown")
    head = await api.ask(
        "HEAD", EVENTS + event_id, headers={"Authorization": f"Bearer {api.read_token}"}
    )
    assert (head.status, head.body) == (200, b"")


async def test_event_made_at_the_edge_is_found_by_its_id(api: Segops) -> None:
    event_id = assert_queued(await api.track(EVENT))
    receipt = await when_stored(api, event_id)
    assert (receipt["event_id"], receipt["duplicates"]) == (event_id, 0)
    assert (receipt["event_type"], receipt["user_id"]) == (EVENT["event_type"], EVENT["user_id"])
    assert receipt["source"] == "track"


async def test_receipt_counts_what_the_client_sent_again(api: Segops) -> None:
    name = "Bestellung 7/ü%"
    for _ in range(3):
        assert_queued(await api.track({**EVENT, "event_id": name}))

    async def with_all() -> Any:
        receipt = await when_stored(api, quote(name, safe=""))
        return receipt if receipt["duplicates"] == 2 else None

    receipt = await poll_until(with_all, within_s=VISIBLE_WITHIN_S, what="two duplicates")
    repeats = [step["at"] for step in receipt["trace"] if step["step"] == "duplicate"]
    assert len(repeats) == 2
    assert receipt["received_at"] < min(repeats)


@pytest.fixture
async def warehouse(shared: SharedParts) -> AsyncIterator[Warehouse]:
    """The warehouse of the running stack, as the worker writes to it."""
    async with Warehouse(shared.files) as opened:
        yield opened


async def test_receipt_tells_each_fate_at_amplitude(api: Segops, warehouse: Warehouse) -> None:
    fates = {
        Fate.DELIVERED: ("", ""),
        Fate.PARKED: ("throttled_user", "429, until 14:02"),
        Fate.DEAD: ("invalid_event", "missing field event_type"),
        Fate.FILTERED: ("not_sampled", "sample_percent is 10"),
    }
    events = [{**EVENT, "event_id": fate} for fate in fates]
    assert_counted(await api.batch(events), queued=4, skipped=0)
    rows = await api.rows_when(4)
    outcomes = [
        Outcome(
            tenant=api.slug,
            event_id=derive_event_id(api.slug, fate),
            destination="amplitude",
            outcome=fate,
            reason=reason,
            detail=detail,
            at=format_ts(datetime.now(UTC)),
            received_at=rows[0].received_at.replace(" ", "T"),
        )
        for fate, (reason, detail) in fates.items()
    ]
    await warehouse.insert_rows("outcomes", frames(outcomes))
    for fate, (reason, detail) in fates.items():
        receipt = (await api.get(EVENTS + fate)).json
        assert receipt["state"] == fate
        there = receipt["destinations"]["amplitude"]
        assert there["outcome"] == fate
        assert there.get("reason", "") == reason
        assert there.get("detail", "") == detail
        assert [step["step"] for step in receipt["trace"]][-1] == fate


async def test_names_of_sessions_and_shops_lead_to_their_events(
    api: Segops, app: ClientApp, shared: SharedParts
) -> None:
    assert_queued(await app.track(await app.token(), {**EVENT, "event_id": "mine"}))
    webhook_id = str(uuid4())
    TenantsFile(shared.files.tenants_path).set_value(api.slug, "shopify_secrets", SECRET)
    await app.are_edits_known()
    async with open_shop(api.url, api.slug) as shop:
        topic, body = sample(1)
        assert_kept(await shop.deliver(topic, body, {"X-Shopify-Webhook-Id": webhook_id}))
    receipt = await when_stored(api, webhook_id)
    assert receipt["source"] == "shopify"
    [visitor] = [row.user_id for row in await api.rows_when(2) if row.source == "track"]
    assert_refused(await api.get(f"{EVENTS}mine"), 404, "event_unknown")
    answer = await api.get(f"{EVENTS}mine?user_id={visitor}")
    assert answer.json["user_id"] == visitor


@pytest.mark.parametrize(
    "name",
    [
        "order-124",
        "b74138c2-196a-48aa-9020-9082239a6683",
        "019ac9f0-0000-7000-8000-000000000001",
        "%FF",
        "%00",
        "%0A",
        "f" * 301,
        "ffffffff-ffff-7fff-bfff-ffffffffffff",
        "%",
        "'",
        "{ids:Array(UUID)}",
    ],
)
async def test_unknown_name_is_answered_with_what_may_be_the_case(
    client: Segops, name: str
) -> None:
    answer = await client.get(EVENTS + quote(name, safe="%"))
    assert_refused(answer, 404, "event_unknown")
    assert "try again in a few seconds" in answer.json["detail"]


async def test_names_that_other_libraries_gave_lead_to_their_events(api: Segops) -> None:
    track = {"event": "Order Placed", "userId": "u-1", "messageId": "one", "writeKey": api.api_key}
    assert (await api.post("/v1/track", track, headers={"Authorization": None})).status == 200
    events = [
        {"event_type": "a", "user_id": "u-2", "device_id": "d-2", "insert_id": "two"},
        {"event_type": "a", "user_id": "user-3", "insert_id": "three"},
    ]
    sent = {"api_key": api.api_key, "events": events}
    answer = await api.post("/2/httpapi", sent, headers={"Authorization": None})
    assert answer.status == 200, answer
    await api.rows_when(3)
    found = [
        (await api.get(EVENTS + name)).json["user_id"]
        for name in ("one", "two?anonymous_id=d-2", "three?user_id=user-3")
    ]
    assert found == ["u-1", "u-2", "user-3"]
    for name in ("two", "two?anonymous_id=d-3", "three", "one?user_id=%FF", "two?anonymous_id=%00"):
        answer = await api.get(EVENTS + name)
        assert answer.status == (200 if name.startswith("one") else 404), name


async def test_command_prints_the_receipt(api: Segops, shared: SharedParts) -> None:
    event_id = assert_queued(await api.track({**EVENT, "event_id": "order-123"}))
    receipt = await when_stored(api, event_id)
    asked = ("receipt", "order-123", "--tenant", api.slug)
    settings = {"DATA_DIR": str(shared.files.data_dir)}
    shown = await sluice(*asked, settings=settings)
    assert shown.status == 0, shown
    assert event_id in shown.stdout
    assert "Stored; forwarded nowhere." in shown.stdout
    assert receipt["received_at"] in shown.stdout
    assert (await sluice(*asked, "--json", settings=settings)).json == receipt
    unknown = await sluice("receipt", "order-124", "--tenant", api.slug, settings=settings)
    assert unknown.status == 1
    assert "no event of " in unknown.error


async def test_command_says_how_to_start_a_warehouse_that_does_not_answer(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    settings = {"DATA_DIR": str(tmp_path)}
    assert (await sluice("tenant", "add", "shop", settings=settings)).status == 0
    asked = ("receipt", "order-123", "--tenant", "shop")
    never = await sluice(*asked, settings=settings)
    assert never.status == 1
    assert never.error == (
        "sluice: the embedded warehouse has not started yet: it has not written its address;"
        " start it: `sluice run`"
    )
    url = f"{address.replace('//', '//u:hidden-secret@')}/sluice"
    (tmp_path / "warehouse.url").write_text(url)
    stopped = await sluice(*asked, settings=settings)
    assert stopped.status == 1
    words = f"sluice: the warehouse did not answer at {address} (connection refused);"
    assert stopped.error == f"{words} start it: `sluice run`"
    remote = await sluice(*asked, settings={**settings, "WAREHOUSE_URL": url})
    assert remote.error == f"{words} check SLUICE_WAREHOUSE_URL"


async def test_receipt_needs_a_read_token(client: Segops) -> None:
    assert_refused(await client.ask("GET", f"{EVENTS}order-123"), 401, "auth_missing")
    session = await client.ask(
        "GET", f"{EVENTS}order-123", headers={"Authorization": f"ApiKey {client.api_key}"}
    )
    assert session.status in {401, 403}


async def test_receipt_is_unavailable_when_the_warehouse_is_away(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        answer = await gateway.ask("GET", f"{EVENTS}order-123", gateway.bearer())
        assert_refused(answer, 503, "warehouse_unavailable")
