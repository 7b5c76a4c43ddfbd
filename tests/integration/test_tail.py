"""``GET /api/ingestion/tail``: events as they are stored, for their own tenant."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest

from gateway.tails import MAX_TAILS_OF_TENANT
from tests.support.credentials import TokenMaker
from tests.support.gateway import running_gateway
from tests.support.poll import poll_until
from tests.support.raw_http import connect, request_bytes
from tests.support.segops import EVENT, Segops, assert_counted, assert_queued, assert_refused
from tests.support.shared import SharedParts
from tests.support.tail import TAIL, own_tail, tailing

PAYLOAD = {"secret_word": "hush", "total": 89.95, "n": None, "is_new": True, "items": [1], "o": {}}


async def test_tail_tells_of_an_event_without_its_values_and_nobody_elses(
    api: Segops, shared: SharedParts
) -> None:
    async with shared.new_client() as other, own_tail(api) as tail, own_tail(other) as others:
        assert tail.answer.headers["Content-Type"] == "text/event-stream"
        assert tail.answer.headers["Cache-Control"] == "no-store"
        assert tail.answer.headers["X-Request-Id"]
        event_id = assert_queued(
            await api.track({**EVENT, "user_id": "alice@example.com", "payload": PAYLOAD})
        )
        [event] = await tail.when(1)
        assert event.pop("received_at").endswith("Z")
        assert event == {
            "event_id": event_id,
            "event_type": EVENT["event_type"],
            "user_id": "al…om",
            "source": "track",
            "payload": {
                "secret_word": "string",
                "total": "number",
                "n": "null",
                "is_new": "boolean",
                "items": "array",
                "o": "object",
            },
        }
        own_id = assert_queued(await other.track(EVENT))
        assert [one["event_id"] for one in await others.when(1)] == [own_id]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("?event_type=a", {"one", "two"}),
        ("?user_id=u-2", {"two", "three"}),
        ("?event_type=a&user_id=u-2&source=batch", {"two"}),
        ("?event_type=&source=batch", {"one", "two", "three"}),
    ],
)
async def test_tail_shows_only_what_the_filter_asks_for(
    api: Segops, query: str, wanted: set[str]
) -> None:
    async with own_tail(api, query) as tail:
        given = {"one": ("a", "u-1"), "two": ("a", "u-2"), "three": ("b", "u-2")}
        events = [
            {"event_type": event_type, "user_id": user_id, "payload": {name: 1}}
            for name, (event_type, user_id) in given.items()
        ]
        assert_counted(await api.batch(events), queued=3, skipped=0)
        shown = await tail.when(len(wanted))
        assert {name for event in shown for name in event["payload"]} == wanted


@pytest.mark.parametrize(
    "text", ["%FF", "%00", "%27%22%5C", "%0A", "{tenant:String}", "%F0%9F%8D%95"]
)
async def test_tail_takes_any_text_as_a_filter(client: Segops, text: str) -> None:
    async with own_tail(client, f"?event_type={quote(text, safe='%')}&user_id={text}") as tail:
        assert tail.answer.status == 200


async def test_tail_counts_each_event_once_under_load(api: Segops) -> None:
    async with own_tail(api) as tail:
        async with asyncio.TaskGroup() as tasks:
            for number in range(20):
                events = [
                    {**EVENT, "event_id": f"{number}-{one}", "payload": {"n": one}}
                    for one in range(100)
                ]
                tasks.create_task(api.batch(events))
        shown = await tail.when(2_000)
        assert max(Counter(event["event_id"] for event in shown).values()) == 1
        await tail.listen()
        assert tail.count == 2_000


async def test_tail_goes_on_after_the_last_id(api: Segops) -> None:
    async with own_tail(api) as tail:
        assert_queued(await api.track({**EVENT, "payload": {"first": 1}}))
        await tail.when(1)
    assert_queued(await api.track({**EVENT, "payload": {"missed": 1}}))
    await api.rows_when(2)
    async with own_tail(api, headers={"Last-Event-ID": tail.last_id}) as resumed:
        assert [event["payload"] for event in await resumed.when(1)] == [{"missed": "number"}]
        assert_queued(await api.track({**EVENT, "payload": {"new": 1}}))
        assert [event["payload"] for event in await resumed.when(2)][1:] == [{"new": "number"}]


async def test_last_id_of_another_tenant_shows_nothing_of_it_and_hides_nothing(
    api: Segops, shared: SharedParts
) -> None:
    async with shared.new_client() as other:
        async with own_tail(other) as others:
            assert_queued(await other.track({**EVENT, "payload": {"theirs": 1}}))
            await others.when(1)
        assert_queued(await other.track({**EVENT, "payload": {"theirs": 2}}))
        assert_queued(await api.track({**EVENT, "payload": {"ours": 1}}))
        await other.rows_when(2)
        await api.rows_when(1)
        async with own_tail(api, headers={"Last-Event-ID": others.last_id}) as tail:
            assert [event["payload"] for event in await tail.when(1)] == [{"ours": "number"}]
            assert_queued(await other.track({**EVENT, "payload": {"theirs": 3}}))
            assert_queued(await api.track({**EVENT, "payload": {"ours_too": 1}}))
            shown = [event["payload"] for event in await tail.when(2)]
            assert shown[1:] == [{"ours_too": "number"}]


async def test_tail_is_refused_like_every_read(client: Segops, sign: TokenMaker) -> None:
    assert_refused(await client.ask("GET", TAIL), 401, "auth_missing")
    key = await client.ask("GET", TAIL, headers={"Authorization": f"ApiKey {client.api_key}"})
    assert_refused(key, 401, "token_invalid")
    claims = {"tenant": client.slug, "exp": time.time() + 60}
    runs_only = sign({**claims, "scope": "runs"})
    assert_refused(await client.get(TAIL, token=runs_only), 403, "scope_denied")
    nobody = sign({**claims, "tenant": "nobody"})
    assert_refused(await client.get(TAIL, token=nobody), 403, "tenant_unknown")
    long = await client.get(f"{TAIL}?user_id={'x' * 256}")
    assert_refused(long, 400, "parameter_invalid", field="user_id")
    bearer = {"Authorization": f"Bearer {client.read_token}"}
    assert (await client.ask("POST", TAIL, headers=bearer)).status == 405
    for _ in range(2 * MAX_TAILS_OF_TENANT):
        head = await client.ask("HEAD", TAIL + "/", headers=bearer)
        assert (head.status, head.body) == (200, b"")


async def test_tail_ends_with_its_token(client: Segops, sign: TokenMaker) -> None:
    token = sign({"tenant": client.slug, "scope": "read", "exp": time.time() - 28})
    started = time.monotonic()
    async with tailing(client.url, token) as tail:
        assert await tail.when_over() == "token_expired"
    assert time.monotonic() - started < 10


async def test_tails_of_a_tenant_are_bounded_and_a_closed_one_makes_room(api: Segops) -> None:
    async with own_tail(api), own_tail(api), own_tail(api):
        async with own_tail(api):
            full = await api.get(TAIL)
            assert_refused(full, 429, "tails_at_limit")
            assert int(full.headers["Retry-After"]) >= 1

        async def is_free() -> bool:
            return await opens(api)  # a client that hung up is noticed at the next look

        await poll_until(is_free, within_s=30, every_s=0.2, what="room for a tail")


async def opens(api: Segops) -> bool:
    """Open one more tail; whether there was room."""
    try:
        async with own_tail(api):
            return True
    except AssertionError:
        return False


async def test_client_that_leaves_before_the_answer_begins_keeps_no_room(api: Segops) -> None:
    bearer = ("Authorization", f"Bearer {api.read_token}")
    for _ in range(MAX_TAILS_OF_TENANT):
        async with connect(api.url) as (_, writer):
            writer.write(request_bytes(TAIL, method="GET", headers=[bearer]))
            await writer.drain()

    async def is_free() -> bool:
        return await opens(api)

    await poll_until(is_free, within_s=4, every_s=0.2, what="room for a tail")


async def test_client_of_http_1_0_gets_the_stream_without_chunks(api: Segops) -> None:
    bearer = ("Authorization", f"Bearer {api.read_token}")
    request = request_bytes(TAIL, method="GET", headers=[bearer])
    async with connect(api.url) as (reader, writer):
        writer.write(request.replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert "chunked" not in head
        assert "Connection: close" in head
        assert await reader.readline() == b"retry: 2000\n"


async def test_stop_of_the_gateway_ends_tails_at_once(tmp_path: Path, shared: SharedParts) -> None:
    async with running_gateway(tmp_path, warehouse_url=shared.warehouse_url) as gateway:
        _, value = gateway.bearer()
        async with tailing(gateway.url, value.removeprefix("Bearer ")) as tail:
            gateway.stop.set()
            started = time.monotonic()
            assert await tail.when_over() == "server_ends"
            assert time.monotonic() - started < 1


async def test_tail_is_unavailable_when_the_warehouse_is_away(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        answer = await gateway.ask("GET", TAIL, gateway.bearer())
        assert_refused(answer, 503, "warehouse_unavailable")
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{gateway.url}/metrics") as metrics,
        ):
            assert "sluice_http_open_tails 0.0" in await metrics.text()
