"""What a 202 of the edge means, and what is answered when there can be none."""

import asyncio
import secrets
from pathlib import Path

import orjson

from tests.support.gateway import BATCH, EVENT, TENANT, Gateway, running_gateway, stored_rows
from tests.support.poll import poll_until
from tests.support.raw_http import connect, read_answer


async def test_accepted_events_are_in_the_queue_with_their_ids(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        single = await gateway.send(gateway.track_bytes())
        body = b'{"events":[%s,{"user_id":"u-2"},%s]}' % (EVENT, EVENT)
        batch = await gateway.send(gateway.track_bytes(body, target=BATCH))
    assert orjson.loads(batch.body)["queued"] == 2
    rows = [orjson.loads(row) for row in (await stored_rows(gateway.settings))["events"]]
    assert [row["source"] for row in rows] == ["track", "batch", "batch"]
    assert rows[0]["event_id"] == single.headers["X-Event-Id"]
    assert len({row["event_id"] for row in rows}) == 3
    assert {row["tenant"] for row in rows} == {TENANT}
    assert all(row["occurred_at"] == row["received_at"] for row in rows)


async def test_repeats_of_a_named_event_get_the_same_id(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        key = ("Idempotency-Key", "k-1")
        ids = [
            (await gateway.send(gateway.track_bytes(EVENT, key))).headers["X-Event-Id"]
            for _ in range(2)
        ]
        other = await gateway.send(gateway.track_bytes(EVENT, ("Idempotency-Key", "k-2")))
    assert ids[0] == ids[1] != other.headers["X-Event-Id"]


async def test_idempotency_key_is_refused_when_it_is_not_visible_ascii(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        for key in ("a b", "x" * 129, "é"):
            answer = await gateway.send(gateway.track_bytes(EVENT, ("Idempotency-Key", key)))
            assert (answer.status, answer.headers["X-Error-Type"]) == (
                400,
                "idempotency_key_invalid",
            )


async def test_refusals_leave_records_that_survive_the_stop(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await gateway.send(gateway.track_bytes(b"{}"))
        await gateway.send(gateway.track_bytes(EVENT, ("Content-Type", "text/plain")))
        batch = b'{"events":[%s,{"user_id":"u-2"}]}' % EVENT
        await gateway.send(gateway.track_bytes(batch, ("X-Request-Id", "req-9"), target=BATCH))
    records = [orjson.loads(row) for row in (await stored_rows(gateway.settings))["errors"]]
    assert sorted(record["error_type"] for record in records) == [
        "content_type_unsupported",
        "event_type_missing",
        "event_type_missing",
        "user_id_missing",
    ]
    (skipped,) = [record for record in records if record["source"] == "batch"]
    assert (skipped["event_index"], skipped["user_id"], skipped["request_id"]) == (
        1,
        "u-2",
        "req-9",
    )


async def fill(gateway: Gateway) -> int:
    """Send until the queue is full; return how many events were accepted."""
    for accepted in range(200):
        body = b'{"user_id":"u-1","event_type":"filler","payload":{"x":"%s"}}'
        answer = await gateway.send(gateway.track_bytes(body % secrets.token_hex(30_000).encode()))
        if answer.status == 503:
            assert answer.headers["X-Error-Type"] == "spool_full"
            assert 1 <= int(answer.headers["Retry-After"]) <= 30
            return accepted
        assert answer.status == 202
    message = "the queue never got full"
    raise AssertionError(message)


async def test_gateway_answers_503_and_stores_nothing_when_the_queue_is_full(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path, queue_max_bytes=1_048_576) as gateway:
        accepted = await fill(gateway)

        async def is_said() -> bool:  # health may be a second old
            health = orjson.loads((await gateway.ask("GET", "/api/ingestion/health")).body)
            return bool(health["pubsub_topic"] == "error")

        await poll_until(is_said)
        assert (await gateway.ask("GET", "/readyz")).status == 200
    assert len((await stored_rows(gateway.settings))["events"]) == accepted > 0


async def test_gateway_is_ready_and_takes_events_when_the_warehouse_is_away(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path, warehouse_url="http://u:p@127.0.0.1:1/x") as gateway:
        assert (await gateway.ask("GET", "/readyz")).status == 200
        assert (await gateway.send(gateway.track_bytes())).status == 202
        for path in ("stats", "errors"):
            answer = await gateway.ask("GET", f"/api/ingestion/{path}", gateway.bearer())
            assert (answer.status, answer.headers["X-Error-Type"]) == (
                503,
                "warehouse_unavailable",
            )
            assert 1 <= int(answer.headers["Retry-After"]) <= 30
        health = await gateway.ask("GET", "/api/ingestion/health")
        words = orjson.loads(health.body)
        assert health.status == 503
        assert list(words) == ["pubsub_topic", "worker", "clickhouse"]
        assert words["pubsub_topic"] == "ok"
        assert words["clickhouse"] in {"unknown", "error"}


async def test_reads_are_refused_before_the_warehouse_is_asked(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        for query in ("window=30d", "window=", "window=24H"):
            answer = await gateway.ask("GET", f"/api/ingestion/stats?{query}", gateway.bearer())
            assert (answer.status, list(orjson.loads(answer.body))) == (400, ["window"])
        for limit in ("0", "-1", "abc", "5.0", "+5", "", "%D9%A3", "00"):
            target = f"/api/ingestion/errors?limit={limit}"
            answer = await gateway.ask("GET", target, gateway.bearer())
            assert (answer.status, list(orjson.loads(answer.body))) == (400, ["limit"]), limit
        assert (await gateway.ask("GET", "/api/ingestion/stats")).status == 401
        unknown = await gateway.ask("GET", "/api/ingestion/stats", gateway.bearer("nobody"))
        assert unknown.status == 403


async def test_gateway_ends_each_connection_with_an_answer_when_it_stops(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path) as gateway, connect(gateway.url) as (slow, slow_writer):
        request = gateway.track_bytes()
        async with connect(gateway.url) as (open_reader, open_writer):
            open_writer.write(request)
            first = await read_answer(open_reader)
            slow_writer.write(request[:-5])
            await asyncio.sleep(0)
            while (await gateway.ask("GET", "/readyz")).status != 200:
                pass
            gateway.stop.set()
            open_writer.write(request)
            late = await read_answer(open_reader)
            assert await read_answer(open_reader) is None
            slow_writer.write(request[-5:])
            finished = await read_answer(slow)
    assert first is not None
    assert (first.status, "Connection" in first.headers) == (202, False)
    for last in (late, finished):
        assert last is not None
        assert (last.status, last.headers["Connection"]) == (202, "close")
    assert len((await stored_rows(gateway.settings))["events"]) == 3


async def test_gateway_is_not_ready_but_takes_events_for_a_while_when_it_is_to_stop(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path, stop_delay_s=1.0) as gateway:
        gateway.stop.set()

        async def is_unready() -> bool:
            return (await gateway.ask("GET", "/readyz")).status == 503

        await poll_until(is_unready, within_s=30, what="/readyz says 503")
        assert (await gateway.send(gateway.track_bytes())).status == 202


async def test_gateway_closes_connections_that_stay_idle_when_it_stops(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, connect(gateway.url) as (reader, writer):
        writer.write(gateway.track_bytes())
        assert await read_answer(reader) is not None
        gateway.stop.set()
        assert await read_answer(reader) is None
