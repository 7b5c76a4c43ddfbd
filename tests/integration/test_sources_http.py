"""The endpoints that other systems' clients call, on the wire: durability, shedding, records."""

import asyncio
import gzip
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import pytest

from gateway import sources
from gateway.core.limits import BURST_S, RateLimits
from gateway.core.source import Arrival, Parsed, Source
from gateway.dispatch import Dispatcher
from gateway.rejections import Rejections
from gateway.room import Room
from gateway.routes.shopify import ShopifyRoutes
from gateway.routes.sources import SourceRoutes
from gateway.run_commands import RunCommands
from gateway.server import HttpServer
from gateway.sources.standard_webhooks import sign
from gateway.stamps import Stamps
from sluice.core.tenant import Directory, Tenant
from sluice.settings import load_settings
from sluice.tenants import TenantsFile
from tests.support.edge import running
from tests.support.gaps import watch_gaps
from tests.support.gateway import TENANT, running_gateway, stored_rows
from tests.support.poll import poll_until
from tests.support.raw_http import connect, exchange, read_answer, request_bytes
from tests.support.segops import Answer
from tests.support.telemetry import sum_of
from tests.unit.gateway.arrivals import DIRECTORY, SECRET_KEY, basic
from tests.unit.gateway.queues import GatedQueue, running_publisher

WEBHOOK_SECRET = "whsec_" + b64encode(b"k" * 24).decode()
LOADS = [sources.load(name) for name in sources.NAMES]


@dataclass(frozen=True, slots=True)
class Post:
    """One request to a source and how its good answer looks."""

    source: str
    path: str
    body: bytes
    headers: dict[str, str]
    success: bytes


def posts(key: str) -> list[Post]:
    """A good request to each source; every one has an event that is bad too, where it may."""
    segment = (
        b'{"batch":[{"type":"track","userId":"u","event":"e","messageId":"m"},{"type":"track"}]}'
    )
    amplitude = b'{"api_key":"%s","events":[{"user_id":"u","event_type":"e"},{}]}' % key.encode()
    webhook = b'{"type":"e","data":{"user_id":"u"}}'
    now = str(int(time.time()))
    signed = {
        "webhook-id": "m",
        "webhook-timestamp": now,
        "webhook-signature": "v1," + b64encode(sign(WEBHOOK_SECRET, "m", now, webhook)).decode(),
    }
    return [
        Post("segment", "/v1/batch", segment, basic(key), b'"success":true'),
        Post("amplitude_http", "/2/httpapi", amplitude, {}, b'"events_ingested":1'),
        Post("webhook", f"/api/ingestion/webhook/{TENANT}", webhook, signed, b'"queued":true'),
    ]


def request_of(post: Post, *, is_gzip: bool = False) -> bytes:
    body = gzip.compress(post.body) if is_gzip else post.body
    headers = post.headers | {"Content-Length": str(len(body))}
    if is_gzip and post.source != "webhook":
        headers["Content-Encoding"] = "gzip"
    return request_bytes(post.path, headers=tuple(headers.items()), body=body)


def assert_kept(answer: Answer | None, post: Post) -> None:
    assert answer is not None
    assert answer.status == 200, answer
    assert post.success in answer.body, answer


async def test_every_source_stores_counts_and_leaves_records_of_what_it_skipped(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path) as gateway:
        TenantsFile(gateway.settings.tenants_path).set_value(
            TENANT, "webhook_secrets", WEBHOOK_SECRET
        )
        before = (await gateway.ask("GET", "/metrics")).body.decode()
        given = posts(gateway.api_key)

        async def knows_the_secret() -> bool:
            return (await gateway.send(request_of(given[-1]))).status == 200

        await poll_until(knows_the_secret, what="the secret is known")
        for post in given[:-1]:
            assert_kept(await gateway.send(request_of(post)), post)
            assert_kept(await gateway.send(request_of(post, is_gzip=True)), post)
        after = (await gateway.ask("GET", "/metrics")).body.decode()
    for post in given:
        accepted = [
            sum_of(text, "sluice_events_accepted_total", source=post.source)
            for text in (before, after)
        ]
        assert accepted[1] - accepted[0] == (1 if post.source == "webhook" else 2)
    stored = await stored_rows(gateway.settings)
    events = [orjson.loads(row) for row in stored["events"]]
    assert {(one["source"], one["tenant"]) for one in events} == {
        (post.source, TENANT) for post in given
    }
    assert len({one["event_id"] for one in events if one["source"] == "segment"}) == 1
    records = [orjson.loads(row) for row in stored["errors"]]
    skipped = {(one["source"], one["error_type"], one.get("event_index")) for one in records}
    assert {
        ("segment", "user_id_missing", 1),
        ("amplitude_http", "user_id_missing", 1),
    } <= skipped


def test_200_of_every_source_survives_kill_9(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    key = TenantsFile(settings.tenants_path).add_tenant(TENANT)
    TenantsFile(settings.tenants_path).set_value(TENANT, "webhook_secrets", WEBHOOK_SECRET)
    with running("gateway", data_dir=tmp_path, settings={}) as edge:
        for post in posts(key):
            assert_kept(asyncio.run(exchange(edge.url, request_of(post))), post)
        edge.kill()
    stored = asyncio.run(stored_rows(settings))["events"]
    assert [orjson.loads(row)["source"] for row in stored] == [
        "segment",
        "amplitude_http",
        "webhook",
    ]


@asynccontextmanager
async def serving(
    queue: GatedQueue,
    given: list[Source],
    *,
    max_pending_bytes: int = 10_000_000,
    max_unproven_bytes: int = 10_000_000,
    awaited: Room | None = None,
    directory: Directory = DIRECTORY,
) -> AsyncIterator[tuple[str, Dispatcher]]:
    """Serve sources over a queue whose commits the test lets through."""
    async with running_publisher(queue, max_pending_bytes=max_pending_bytes) as publisher:
        rejections = Rejections(publisher, new_ids=lambda count: ["id"] * count)
        stamps = Stamps()
        room = Room(max_unproven_bytes)
        routes = SourceRoutes(
            sources=given,
            directory=lambda: directory,
            publisher=publisher,
            rejections=rejections,
            stamps=stamps,
            body_timeout_s=5,
            room=room,
            awaited=awaited or Room(),
            limits=RateLimits(),
            monotonic=time.monotonic,
        ).routes()
        shopify = ShopifyRoutes(
            directory=lambda: directory,
            publisher=publisher,
            commands=RunCommands(queue, timeout_s=5),
            rejections=rejections,
            stamps=stamps,
            room=room,
        ).routes()
        app = Dispatcher([*routes, *shopify], rejections=rejections, new_request_id=lambda: "r-1")
        server = HttpServer(app, new_request_id=lambda: "r-1", max_connections=10)
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(server, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", app
        finally:
            listener.close()
            await server.shutdown(1)


async def test_load_is_shed_in_each_dialect_before_the_body_is_there() -> None:
    queue = GatedQueue()
    queue.gate.clear()
    first = posts(SECRET_KEY)[0]
    async with (
        serving(queue, LOADS, max_pending_bytes=100) as (url, _),
        connect(url) as (reader, writer),
    ):
        writer.write(request_of(first))
        await poll_until(lambda: queue.started, what="the first commit is on its way")
        for post in posts(SECRET_KEY):
            headers = (*post.headers.items(), ("Content-Length", "100000"))
            answer = await exchange(url, request_bytes(post.path, headers=headers))
            assert answer is not None
            assert (answer.status, answer.error_type) == (503, "overloaded")
            assert 1 <= int(answer.headers["Retry-After"]) <= 30
            assert "code" in orjson.loads(answer.body)
        assert not reader.at_eof()
        assert queue.commits == [], "nothing was answered before it was durable"
        queue.gate.set()
        assert_kept(await read_answer(reader), first)
        assert len(queue.rows()) == 1


async def test_bodies_of_callers_who_proved_nothing_are_read_within_a_bound() -> None:
    segment, amplitude = posts(SECRET_KEY)[:2]
    whole = request_of(amplitude)
    async with (
        serving(GatedQueue(), LOADS, max_unproven_bytes=len(amplitude.body)) as (url, _),
        connect(url) as (reader, writer),
    ):
        writer.write(whole[:-5])

        async def refused() -> Answer | None:
            answer = await exchange(url, request_of(amplitude))
            return answer if answer is not None and answer.status == 503 else None

        answer = await poll_until(refused, what="the second body finds no room")
        assert answer.error_type == "overloaded"
        assert_kept(await exchange(url, request_of(segment)), segment)  # it came with its key
        writer.write(whole[-5:])
        assert_kept(await read_answer(reader), amplitude)
        assert_kept(await exchange(url, request_of(amplitude)), amplitude)


async def test_bodies_of_callers_with_a_key_are_waited_for_within_a_bound() -> None:
    segment = posts(SECRET_KEY)[0]
    whole = request_of(segment)
    awaited = Room(len(segment.body))
    async with (
        serving(GatedQueue(), LOADS, awaited=awaited) as (url, _),
        connect(url) as (reader, writer),
    ):
        writer.write(whole[:-5])
        await poll_until(lambda: awaited.is_full, what="the first body has taken the room")
        answer = await exchange(url, whole[:-5])
        assert answer is not None
        assert (answer.status, answer.error_type) == (503, "overloaded")
        assert_kept(await exchange(url, whole), segment)  # it waits for nothing
        writer.write(whole[-5:])
        assert_kept(await read_answer(reader), segment)
        assert awaited.used == 0


async def test_connections_that_announce_bodies_and_send_none_take_no_room_from_others() -> None:
    amplitude = posts(SECRET_KEY)[1]
    announced = [
        ("Content-Length", "3145728"),
        ("Transfer-Encoding", "chunked"),
        ("Content-Encoding", "gzip"),
    ]
    async with AsyncExitStack() as stack:
        url, _ = await stack.enter_async_context(
            serving(GatedQueue(), LOADS, max_unproven_bytes=100_000)
        )
        for header in announced:
            _, writer = await stack.enter_async_context(connect(url))
            length = () if header[0] != "Content-Encoding" else (announced[0],)
            writer.write(request_bytes(amplitude.path, headers=(header, *length)))
            await writer.drain()
        for _ in range(5):
            assert_kept(await exchange(url, request_of(amplitude)), amplitude)
            assert_kept(await exchange(url, request_of(amplitude, is_gzip=True)), amplitude)


async def test_unproven_bodies_of_shopify_count_with_the_others_and_give_back_their_room() -> None:
    amplitude = posts(SECRET_KEY)[1]
    shop = Directory({TENANT: replace(DIRECTORY.by_slug[TENANT], shopify_secrets=("s",))})
    directory = replace(DIRECTORY, by_slug=shop.by_slug)
    path = f"/api/ingestion/shopify/{TENANT}"
    signed = (("X-Shopify-Hmac-SHA256", "wrong"), ("Content-Length", "100000"))
    body = b"x" * 90_000
    async with serving(GatedQueue(), LOADS, max_unproven_bytes=100_000, directory=directory) as (
        url,
        _,
    ):
        async with connect(url) as (_, writer):
            writer.write(request_bytes(path, headers=signed, body=body))

            async def refused() -> Answer | None:
                answer = await exchange(url, request_of(amplitude))
                return answer if answer is not None and answer.status == 503 else None

            answer = await poll_until(refused, what="an unsigned body has taken the room")
            assert answer.error_type == "overloaded"
            another = await exchange(url, request_bytes(path, headers=signed, body=body))
            assert another is not None
            assert (another.status, another.error_type) == (503, "overloaded")
            assert another.headers["Retry-After"]

        async def kept() -> bool:
            answer = await exchange(url, request_of(amplitude))
            return answer is not None and answer.status == 200

        await poll_until(kept, what="the room is given back")


async def test_body_that_grows_beyond_the_room_is_refused() -> None:
    amplitude = posts(SECRET_KEY)[1]
    large = replace(amplitude, body=amplitude.body + b" " * 300_000)
    async with serving(GatedQueue(), LOADS, max_unproven_bytes=200_000) as (url, _):
        for is_gzip in (False, True):
            answer = await exchange(url, request_of(large, is_gzip=is_gzip))
            assert answer is not None
            assert (answer.status, answer.error_type) == (503, "overloaded")
        assert_kept(await exchange(url, request_of(amplitude)), amplitude)


@pytest.mark.parametrize("at", range(2))
async def test_key_over_its_own_limit_is_told_when_to_come_back(at: int) -> None:
    post = posts(SECRET_KEY)[at]
    slow = Directory({TENANT: replace(DIRECTORY.by_slug[TENANT], key_events_per_s=1)})
    async with serving(GatedQueue(), LOADS, directory=slow) as (url, _):
        for _ in range(BURST_S):
            await exchange(url, request_of(post))
        limited = await exchange(url, request_of(post))
    assert limited is not None
    assert (limited.status, limited.error_type) == (429, "rate_limited")
    assert int(limited.headers["Retry-After"]) >= 1
    assert "code" in orjson.loads(limited.body)


async def test_key_over_its_limit_is_refused_before_its_events_are_looked_at() -> None:
    """Libraries that ignore Retry-After come back at once, so a refusal must stay cheap."""
    segment, amplitude, _ = posts(SECRET_KEY)
    slow = Directory({TENANT: replace(DIRECTORY.by_slug[TENANT], key_events_per_s=1)})
    async with serving(GatedQueue(), LOADS, directory=slow) as (url, _):
        for _ in range(BURST_S):
            await exchange(url, request_of(segment))
        unsent = segment.headers | {"Content-Length": "50000"}
        head = request_bytes(segment.path, headers=tuple(unsent.items()))
        no_events = replace(amplitude, body=amplitude.body.replace(b'"events"', b'"none"'))
        for request in (head, request_of(no_events)):
            limited = await exchange(url, request)
            assert limited is not None
            assert (limited.status, limited.error_type) == (429, "rate_limited")


async def test_body_that_proves_nothing_does_not_hold_up_what_else_arrives() -> None:
    """A few kilobytes of gzip are five megabytes to look for a key in."""
    form = b"identification=" + b"%5b" * 1_700_000 + b"&api_key=x"
    stranger = Post(
        "amplitude_http",
        "/identify",
        form,
        {"Content-Type": "application/x-www-form-urlencoded"},
        b"",
    )
    gaps: list[float] = []
    async with serving(GatedQueue(), LOADS) as (url, _), asyncio.TaskGroup() as tasks:
        watcher = tasks.create_task(watch_gaps(gaps))
        started = time.perf_counter()
        answer = await exchange(url, request_of(stranger, is_gzip=True))
        took = time.perf_counter() - started
        watcher.cancel()
    assert answer is not None
    assert answer.status == 400
    assert max(gaps) < took / 2


@pytest.mark.parametrize("at", range(2))
async def test_failure_inside_and_stop_are_said_in_the_dialect(at: int) -> None:
    def fail(_arrival: Arrival, _tenant: Tenant) -> Parsed:
        message = "a secret detail"
        raise RuntimeError(message)

    post = posts(SECRET_KEY)[at]
    given = [replace(source, parse=fail) for source in LOADS]
    async with serving(GatedQueue(), given) as (url, app):
        failed = await exchange(url, request_of(post))
        app.is_stopping = True
        stopping = await exchange(url, request_of(post))
    assert failed is not None
    assert (failed.status, failed.error_type) == (500, "internal")
    assert b"secret" not in failed.body
    assert stopping is not None
    assert (stopping.status, stopping.error_type) == (503, "shutting_down")
    assert "Retry-After" in stopping.headers
    for answer in (failed, stopping):
        assert orjson.loads(answer.body)["code"] in {"internal", "shutting_down", 500, 503}
