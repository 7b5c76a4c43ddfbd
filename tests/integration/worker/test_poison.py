"""A row that ClickHouse cannot take goes aside with its reason; everything else is stored."""

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec

from sluice.core.envelope import Envelope, Rows, seal
from sluice.core.errors import ErrorRecord
from sluice.warehouse.stats import read_errors
from tests.support.worker_rig import TENANT, Rig, hours_ago, make_event

BAD_TIME: dict[str, Any] = {"occurred_at": "yesterday"}
BAD_KEY: dict[str, Any] = {"event_id": "zzzzzzzz-zzzz-5zzz-zzzz-zzzzzzzzzzzz"}
BAD_NAMED_TIME: dict[str, Any] = {
    "event_id": "6f6a3f0e-6d0c-5b7e-9c55-0f4a8a1b7d10",
    "received_at": "2026-04-25T10:99:99.000000",
}
BAD_HOUR: dict[str, Any] = {"received_at": "now"}
BAD_LENGTH: dict[str, Any] = {"event_id": "1"}
EXTRA_FIELD: dict[str, Any] = {"surprise": 1}


def row(**changed: Any) -> bytes:
    fields = msgspec.json.decode(msgspec.json.encode(make_event()))
    return msgspec.json.encode({**fields, **changed})


def envelope(rows: Sequence[bytes]) -> Envelope:
    data = b"".join(one + b"\n" for one in rows)
    return seal(Rows("events", len(rows), data), envelope_id=str(uuid.uuid4()))


async def test_only_the_poison_is_put_aside_when_clickhouse_refuses_a_batch(rig: Rig) -> None:
    bad = [BAD_TIME, BAD_KEY, BAD_NAMED_TIME, BAD_HOUR, BAD_LENGTH, EXTRA_FIELD]
    async with rig.worker():
        for changed in bad:
            good = [row() for _ in range(20)]
            good.insert(7, row(**changed))
            await rig.queue.publish("events", [envelope(good), envelope([row()])])
        await rig.queue.publish("events", [envelope([row(), b"not json", row()])])
        await rig.drained()
    assert await rig.count("events") == len(bad) * 21 + 2
    letters = await rig.rows("SELECT tenant, reason, row, error_type FROM dead_letters FINAL")
    assert len(letters) == len(bad) + 1
    assert {tenant for tenant, *_ in letters} == {TENANT, ""}
    assert all(reason and text for _, reason, text, _ in letters)


async def test_tenant_is_told_of_its_dead_letter_without_the_value(rig: Rig) -> None:
    async with rig.worker():
        await rig.queue.publish("events", [envelope([row(**BAD_TIME)])])
        await rig.drained()
    [record] = await read_errors(rig.warehouse, TENANT, 50)
    assert (record.source, record.error_type) == ("warehouse", "dead_letter")
    assert (record.event_type, record.user_id) == ("page_viewed", "user-1")
    assert "yesterday" not in record.detail


async def test_letter_is_written_once_when_its_envelope_comes_again(rig: Rig) -> None:
    poison = envelope([row(**BAD_TIME)])
    async with rig.worker():
        for _ in range(2):
            await rig.queue.publish("events", [poison])
            await rig.drained()
    assert await rig.count("dead_letters FINAL") == 1
    assert len(await read_errors(rig.warehouse, TENANT, 50)) == 1


async def test_envelope_that_cannot_be_read_is_put_aside_whole(rig: Rig) -> None:
    good = envelope([row()])
    cut = msgspec.structs.replace(envelope([row()]), body=good.body[:20])
    lying = msgspec.structs.replace(envelope([row()]), raw_bytes=5)
    async with rig.worker():
        await rig.queue.publish("events", [cut, good, lying])
        await rig.drained()
    assert await rig.count("events") == 1
    assert await rig.count("dead_letters FINAL") == 2


async def test_error_records_are_stored_and_read_newest_first(rig: Rig) -> None:
    hour = hours_ago(1)
    records = [
        ErrorRecord(
            tenant=TENANT,
            error_id=str(uuid.uuid4()),
            ts=f"{hour:%Y-%m-%dT%H}:00:0{second}.000000",
            source="batch",
            error_type="user_id_missing",
            detail="user_id is missing",
            event_index=second,
        )
        for second in range(3)
    ]
    data = msgspec.json.Encoder().encode_lines(records)
    async with rig.worker():
        for _ in range(2):
            await rig.queue.publish(
                "events", [seal(Rows("errors", 3, data), envelope_id=str(uuid.uuid4()))]
            )
            await rig.drained()
    stored = await read_errors(rig.warehouse, TENANT, 2)
    assert [record.event_index for record in stored] == [2, 1]
    assert msgspec.json.decode(msgspec.json.encode(stored[0])) == {
        "ts": f"{hour:%Y-%m-%dT%H}:00:02.000000Z",
        "error_type": "user_id_missing",
        "detail": "user_id is missing",
        "source": "batch",
        "event_index": 2,
        "occurrences": 1,
    }
    assert await read_errors(rig.warehouse, "nobody", 50) == []
