"""The edge as an HTTP server: paths, methods, headers, broken requests, slow clients."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from gateway.core.answers import Answer as Wire
from gateway.dispatch import Dispatcher, Exchange, Route
from gateway.rejections import Rejections
from gateway.reply import Reply
from gateway.server import HttpServer
from tests.support.gateway import BATCH, EVENT, TENANT, TRACK, Gateway, running_gateway
from tests.support.poll import poll_until
from tests.support.raw_http import connect, exchange, read_answer, request_bytes
from tests.support.telemetry import sum_of
from tests.unit.gateway.queues import GatedQueue, running_publisher


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with running_gateway(tmp_path) as running:
        yield running


async def test_gateway_serves_paths_with_and_without_slash_and_never_redirects(
    gateway: Gateway,
) -> None:
    for target in (TRACK, TRACK + "/", TRACK + "?a=1", TRACK + "/?"):
        answer = await gateway.send(gateway.track_bytes(target=target))
        assert (answer.status, orjson.loads(answer.body)) == (202, {"queued": True}), target
    absolute = await gateway.send(gateway.track_bytes(target=f"http://sluice{TRACK}"))
    assert absolute.status == 202


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "//api/ingestion/track",
        "/api//ingestion/track",
        "/api/ingestion/track//",
        "/API/ingestion/track",
        "/api%2Fingestion/track",
        "/api/ingestion/track%2F",
        "/api/ingestion/../ingestion/track",
        "/api/ingestion/nope",
    ],
)
async def test_gateway_answers_404_as_json_when_nothing_is_there(
    gateway: Gateway, target: str
) -> None:
    answer = await gateway.send(gateway.track_bytes(target=target))
    assert answer.status == 404
    assert answer.headers["X-Error-Type"] == "not_found"
    assert "detail" in orjson.loads(answer.body)


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        ("GET", TRACK, "POST, OPTIONS"),
        ("HEAD", TRACK, "POST, OPTIONS"),
        ("PUT", BATCH + "/", "POST, OPTIONS"),
        ("POST", "/api/ingestion/health", "GET, HEAD, OPTIONS"),
        ("DELETE", "/livez", "GET, HEAD, OPTIONS"),
        ("PROPFIND", "/metrics", "GET, HEAD, OPTIONS"),
    ],
)
async def test_gateway_answers_405_with_allow_when_the_method_is_wrong(
    gateway: Gateway, method: str, target: str, allow: str
) -> None:
    async with connect(gateway.url) as (reader, writer):
        writer.write(request_bytes(target, method=method, headers=[("Connection", "close")]))
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 405 ")
    assert f"Allow: {allow}\r\n".encode() in head


async def test_gateway_answers_options_without_credentials(gateway: Gateway) -> None:
    answer = await gateway.ask("OPTIONS", TRACK, ("Connection", "close"))
    assert (answer.status, answer.headers["Allow"], answer.body) == (204, "POST, OPTIONS", b"")


async def test_gateway_answers_head_like_get_without_a_body(gateway: Gateway) -> None:
    for target in ("/livez", "/openapi.json", "/api/ingestion/health"):
        full = await gateway.ask("GET", target)
        async with connect(gateway.url) as (reader, writer):
            writer.write(request_bytes(target, method="HEAD", headers=[("Connection", "close")]))
            raw = await reader.read()
        head, _, body = raw.partition(b"\r\n\r\n")
        assert body == b""
        assert f" {full.status} ".encode() in head.split(b"\r\n")[0]
        assert f"Content-Length: {len(full.body)}".encode() in head


async def test_every_answer_carries_a_request_id_and_the_safe_headers(gateway: Gateway) -> None:
    for request in (
        gateway.track_bytes(),
        gateway.track_bytes(b"{"),
        request_bytes(TRACK),
        request_bytes("/nope", method="GET"),
        b"nonsense\r\n\r\n",
    ):
        answer = await gateway.send(request)
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", answer.headers["X-Request-Id"])
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Type"] == "application/json"
        assert ("X-Error-Type" in answer.headers) is (answer.status >= 400)


@pytest.mark.parametrize(
    ("sent", "is_kept"), [("my-id.1", True), ("a b", False), ("x" * 65, False)]
)
async def test_request_id_of_the_client_comes_back_when_it_is_well_formed(
    gateway: Gateway, sent: str, *, is_kept: bool
) -> None:
    answer = await gateway.send(gateway.track_bytes(EVENT, ("X-Request-Id", sent)))
    assert (answer.headers["X-Request-Id"] == sent) is is_kept


async def test_second_authorization_header_is_refused(gateway: Gateway) -> None:
    twice = ("Authorization", f"ApiKey {gateway.api_key}")
    answer = await gateway.send(gateway.track_bytes(EVENT, twice))
    assert (answer.status, answer.headers["X-Error-Type"]) == (401, "auth_malformed")
    assert "ApiKey" in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    "request_text",
    [
        b"nonsense\r\n\r\n",
        b"POST /api/ingestion/track HTTP/9.9\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 1_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    ],
    ids=lambda text: repr(text[:40]),
)
async def test_gateway_answers_400_and_closes_when_it_is_not_http(
    gateway: Gateway, request_text: bytes
) -> None:
    async with connect(gateway.url) as (reader, writer):
        writer.write(request_text)
        answer = await read_answer(reader)
        assert answer is not None
        assert (answer.status, answer.headers["X-Error-Type"]) == (400, "request_invalid")
        assert "detail" in orjson.loads(answer.body)
        assert await reader.read() == b""
    assert (await gateway.send(gateway.track_bytes())).status == 202


async def test_gateway_answers_each_of_many_pipelined_requests(gateway: Gateway) -> None:
    async with connect(gateway.url) as (reader, writer):
        writer.write(gateway.track_bytes() * 100)
        for _ in range(100):
            answer = await read_answer(reader)
            assert answer is not None
            assert answer.status == 202


async def test_gateway_asks_for_the_body_when_the_client_waits_for_it(gateway: Gateway) -> None:
    async with connect(gateway.url) as (reader, writer):
        request = gateway.track_bytes(EVENT, ("Expect", "100-continue"))
        writer.write(request.removesuffix(EVENT))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(EVENT)
        answer = await read_answer(reader)
        assert answer is not None
        assert answer.status == 202


async def test_gateway_does_not_ask_for_the_body_when_the_credential_is_bad(
    gateway: Gateway,
) -> None:
    headers = [("Expect", "100-continue"), ("Content-Length", "100000")]
    async with connect(gateway.url) as (reader, writer):
        writer.write(request_bytes(TRACK, headers=headers))
        answer = await read_answer(reader)
        assert answer is not None
        assert (answer.status, answer.headers["Connection"]) == (401, "close")


async def test_gateway_serves_http_1_0(gateway: Gateway) -> None:
    old = gateway.track_bytes().replace(b"HTTP/1.1", b"HTTP/1.0")
    async with connect(gateway.url) as (reader, writer):
        writer.write(old)
        assert b" 202 " in await reader.read()
    kept = gateway.track_bytes(EVENT, ("Connection", "keep-alive"))
    answer = await gateway.send(kept.replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert answer.headers["Connection"] == "keep-alive"


async def test_gateway_takes_chunked_bodies(gateway: Gateway) -> None:
    headers = [("Authorization", f"ApiKey {gateway.api_key}"), ("Transfer-Encoding", "chunked")]
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(EVENT), EVENT)
    answer = await gateway.send(request_bytes(TRACK, headers=headers, body=chunked))
    assert answer.status == 202


async def test_gateway_closes_new_connections_past_its_bound(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path, max_connections=2) as gateway,
        connect(gateway.url) as (first, first_writer),
        connect(gateway.url),
    ):
        await poll_until(lambda: _is_refused(gateway))
        first_writer.write(gateway.track_bytes())
        answer = await read_answer(first)
        assert answer is not None
        assert answer.status == 202


async def _is_refused(gateway: Gateway) -> bool:
    return await exchange(gateway.url, request_bytes("/livez", method="GET")) is None


async def test_server_cuts_connection_when_a_head_does_not_get_whole() -> None:
    async def handler(_request: web.BaseRequest) -> Reply:
        return Reply(Wire(200, b"{}"), "r")

    stop = asyncio.Event()
    server = HttpServer(handler, new_request_id=lambda: "r", max_connections=10, head_timeout_s=0.3)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(server, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.sweep(stop, every_s=0.05))
        url = f"http://127.0.0.1:{port}"
        async with connect(url) as (slow, slow_writer), connect(url) as (idle, idle_writer):
            started = time.monotonic()
            slow_writer.write(b"GET / HTTP/1.1\r\nHo")
            async with asyncio.timeout(5):
                assert await slow.read() == b""
            assert time.monotonic() - started >= 0.3
            idle_writer.write(request_bytes("/", method="GET"))
            answer = await read_answer(idle)
            assert answer is not None
            assert answer.status == 200
            assert server.heads == {}
        stop.set()
    listener.close()
    await server.shutdown(1)


async def test_gateway_answers_500_without_details_when_a_handler_fails() -> None:
    async def fail(exchange: Exchange) -> Wire:
        exchange.tenant, exchange.source = "acme", "track"
        message = "a secret detail"
        raise RuntimeError(message)

    queue = GatedQueue()
    async with running_publisher(queue) as publisher:
        told = Rejections(publisher, new_ids=lambda count: ["id"] * count)
        app = Dispatcher(
            [Route(name="fail", path="/fail", handlers={"GET": fail})],
            rejections=told,
            new_request_id=lambda: "r-1",
        )
        server = HttpServer(app, new_request_id=lambda: "r-1", max_connections=10)
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(server, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        answer = await exchange(url, request_bytes("/fail", method="GET"))
        await told.flush(float("inf"))
        listener.close()
        await server.shutdown(1)
    assert answer is not None
    assert (answer.status, answer.headers["X-Error-Type"]) == (500, "internal")
    assert answer.headers["X-Request-Id"] == "r-1"
    assert b"secret" not in answer.body
    (record,) = [orjson.loads(row) for row in queue.rows("errors")]
    assert (record["error_type"], record["request_id"]) == ("internal", "r-1")


async def test_docs_page_needs_nothing_from_elsewhere(gateway: Gateway) -> None:
    page = await gateway.ask("GET", "/docs")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for link in re.findall(rb'(?:src|href)="([^"]+)"', page.body):
        assert link.startswith(b"/")
        assert (await gateway.ask("GET", link.decode())).status == 200
    assert b"://" not in page.body


async def test_openapi_describes_exactly_the_routes_that_are_served(gateway: Gateway) -> None:
    described = orjson.loads((await gateway.ask("GET", "/openapi.json")).body)
    assert described["openapi"] == "3.1.0"
    for path, methods in described["paths"].items():
        target = path.replace("{tenant}", TENANT)
        for method in methods:
            answer = await gateway.ask(method.upper(), target, ("Content-Length", "0"))
            assert answer.error_type not in {"not_found", "method_not_allowed"}, path
            assert str(answer.status) in methods[method]["responses"], path


async def test_metrics_count_requests_and_events(gateway: Gateway) -> None:
    before = (await gateway.ask("GET", "/metrics")).body.decode()
    for _ in range(3):
        await gateway.send(gateway.track_bytes())
    await gateway.send(gateway.track_bytes(b"{}"))
    after = (await gateway.ask("GET", "/metrics")).body.decode()

    def grown(name: str, **labels: str) -> float:
        return sum_of(after, name, **labels) - sum_of(before, name, **labels)

    assert grown("sluice_events_accepted_total", source="track", tenant=TENANT) == 3
    assert grown("sluice_events_rejected_total", error_type="user_id_missing") == 1
    assert grown("sluice_http_request_duration_seconds_count", route="track", status="202") == 3

    async def is_seen() -> bool:  # the queue's figures are kept for half a second
        text = (await gateway.ask("GET", "/metrics")).body.decode()
        return sum_of(text, "sluice_queue_stored_bytes") > 0

    await poll_until(is_seen, what="the metrics show what is stored")


async def test_answers_without_a_handler_are_counted_by_few_labels(gateway: Gateway) -> None:
    before = (await gateway.ask("GET", "/metrics")).body.decode()
    for number in range(5):
        await gateway.ask("GET", f"/nothing/{number}")
    await gateway.ask("DELETE", TRACK)
    await gateway.ask("OPTIONS", TRACK, ("Connection", "close"))
    await gateway.send(b"GET / HTTP/1.1\r\nno colon\r\n\r\n")
    after = (await gateway.ask("GET", "/metrics")).body.decode()

    def grown(route: str, status: int) -> float:
        name, labels = "sluice_http_request_duration_seconds_count", {"status": str(status)}
        return sum_of(after, name, route=route, **labels) - sum_of(
            before, name, route=route, **labels
        )

    assert grown("unmatched", 404) == 5
    assert grown("unmatched", 400) == 1
    assert grown("track", 405) == 1
    assert grown("track", 204) == 1
    assert "/nothing" not in after
