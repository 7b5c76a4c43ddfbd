"""``sluice send`` against the running stack, and against a server that behaves badly."""

import asyncio
import gzip
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import zstandard
from aiohttp import web

from tests.support.command import Ran, sluice
from tests.support.poll import poll_until
from tests.support.ports import free_port
from tests.support.stack import Stack, environment

GOOD = [
    {"user_id": f"u-{n % 7}", "event_type": "page_viewed", "payload": {"n": n}} for n in range(40)
]


async def send(url: str, key: str, file: str, *words: str, stdin: bytes = b"") -> Ran:
    return await sluice(
        "send", file, "--json", *words, stdin=stdin, settings={"URL": url, "API_KEY": key}
    )


def lines(*events: object) -> bytes:
    return b"".join(
        (event if isinstance(event, bytes) else orjson.dumps(event)) + b"\n" for event in events
    )


async def total_events(stack: Stack, token: str) -> int:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.get(f"{stack.url}/api/ingestion/stats") as answer,
    ):
        return int((await answer.json())["total_events"])


async def wait_for_total(stack: Stack, token: str, count: int) -> None:
    async def is_so() -> bool:
        return await total_events(stack, token) == count

    await poll_until(is_so, within_s=30, every_s=0.1, what=f"stats show {count} events")


async def test_file_is_counted_once_when_it_is_sent_again_in_any_form(
    stack: Stack, tmp_path: Path
) -> None:
    _, key, token = stack.new_tenant()
    plain, packed = tmp_path / "events.ndjson", tmp_path / "events.gz"
    plain.write_bytes(lines(*GOOD, *GOOD[:2]))
    packed.write_bytes(gzip.compress(lines(*GOOD, *GOOD[:2])))
    for file, stdin in ((str(plain), b""), (str(packed), b""), ("-", packed.read_bytes())):
        sent = await send(stack.url, key, file, stdin=stdin)
        assert (sent.status, sent.json["queued"], sent.json["skipped"]) == (0, 42, 0), sent
    last = {"user_id": "last", "event_type": "the_end"}
    assert (await send(stack.url, key, "-", stdin=lines(last))).status == 0
    await wait_for_total(stack, token, 43)


async def test_broken_lines_are_named_and_the_rest_is_queued(stack: Stack) -> None:
    _, key, token = stack.new_tenant()
    text = lines(
        GOOD[0],
        b"no json",
        {"user_id": "u", "event_type": ""},
        b'{"user_id":"u","event_type":"x","payload":{"n":NaN}}',
        b'{"user_id":"u","event_type":"x","payload":{"n":NaN},}',
        GOOD[1],
    )
    sent = await send(stack.url, key, "-", stdin=text)
    assert sent.status == 1
    assert (sent.json["queued"], sent.json["skipped"]) == (3, 3)
    assert {error["line"]: error["error_type"] for error in sent.json["errors"]} == {
        2: "json_invalid",
        3: "event_type_missing",
        5: "json_invalid",
    }
    await wait_for_total(stack, token, 3)


async def test_wrong_key_address_and_file_end_with_2_and_one_line(stack: Stack) -> None:
    _, key, _ = stack.new_tenant()
    for url, credential, file, words in (
        (stack.url, "sk_live_wrong", "-", "check --api-key"),
        (stack.worker_url, key, "-", "check --url"),
        ("localhost:8080", key, "-", "use http(s)://host:port"),
        ("http://[::1", key, "-", "use http(s)://host:port"),
        ("http://127.0.0.1:99999", key, "-", "with a port from 1 to 65535"),
        (stack.url, "schlüssel", "-", "not visible ASCII"),
        (stack.url, " ", "-", "is empty"),
        (stack.url, key, "missing.ndjson", "No such file"),
    ):
        sent = await send(url, credential, file, stdin=lines(GOOD[0]))
        assert sent.status == 2, sent
        assert words in sent.error


@dataclass
class Moody:
    """A server that answers from a script, then 202; it remembers what it accepted."""

    script: list[Callable[[web.Request], web.StreamResponse]]
    accepted: list[Any] = field(default_factory=list)
    requests: int = 0
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        body = await request.read()
        if request.headers.get("Content-Encoding") == "zstd":
            body = zstandard.decompress(body)
        if self.script:
            return self.script.pop(0)(request)
        events = orjson.loads(body)["events"]
        if len(events) > 10:
            return web.json_response({"detail": "too large"}, status=413)
        self.accepted += events
        return web.json_response({"queued": len(events), "skipped": 0}, status=202)


@asynccontextmanager
async def moody(*script: Callable[[web.Request], web.StreamResponse]) -> AsyncIterator[Moody]:
    server = Moody(list(script))
    app = web.Application()
    app.router.add_post("/api/ingestion/track/batch", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        server.url = f"http://{host}:{port}"
        yield server
    finally:
        await runner.cleanup()


def busy(status: int) -> Callable[[web.Request], web.StreamResponse]:
    return lambda _request: web.Response(status=status, headers={"Retry-After": "0"})


def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def test_sender_goes_on_after_busy_answers_lost_connections_and_413() -> None:
    async with moody(busy(503), hang_up, busy(429), busy(500)) as server:
        sent = await send(server.url, "sk_x", "-", "--concurrency", "1", stdin=lines(*GOOD))
    assert (sent.status, sent.json["queued"], sent.json["retries"]) == (0, 40, 4)
    assert [event["payload"]["n"] for event in server.accepted] == list(range(40))


async def test_sender_gives_up_when_nothing_is_accepted_for_long() -> None:
    async with moody(*[busy(503)] * 1000) as server:
        sent = await send(server.url, "sk_x", "-", "--give-up-after", "1s", stdin=lines(*GOOD))
    assert sent.status == 1
    assert sent.json["problem"].startswith("nothing was accepted for 1 s: ")
    assert "503" in sent.json["problem"]
    assert sent.json["queued"] == 0
    assert 1 <= sent.json["seconds"] < 2
    assert sent.error.startswith("the server answered 503 ")
    assert sent.error.endswith("; trying for up to 1 s")


async def test_sender_says_once_that_nobody_answers() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    sent = await send(url, "sk_x", "-", "--give-up-after", "1s", stdin=lines(*GOOD))
    assert sent.status == 1
    assert sent.error == f"no answer from {url} (connection refused); trying for up to 1 s"
    assert sent.json["problem"].endswith(f"no answer from {url} (connection refused)")


@pytest.mark.parametrize(
    ("number", "count"),
    [(signal.SIGINT, 1), (signal.SIGINT, 40_000), (signal.SIGTERM, 1)],
    ids=["waiting-for-input", "waiting-for-the-server", "sigterm"],
)
async def test_sender_ends_with_one_line_when_it_is_interrupted(
    number: signal.Signals, count: int
) -> None:
    async with moody(*[busy(503)] * (1000 if count > 1 else 0)) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sluice.cli", "send", "-", "--batch-size", "1"),
            env=environment({"URL": server.url, "API_KEY": "sk_x"}),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(lines(*[GOOD[0] | {"note": "x" * 60}] * count))
        try:
            await poll_until(lambda: server.requests > 0, within_s=30, what="a first request")
            process.send_signal(number)
            async with asyncio.timeout(30):
                stdout, stderr = await process.stdout.read(), await process.stderr.read()
                assert await process.wait() == 1
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    said = [line for line in stderr.decode().splitlines() if not line.startswith("the server")]
    assert len(said) == 1, stderr
    assert said[0].startswith("stopped; ")
    assert said[0].endswith(" queued; send again to go on")
    assert stdout == b""


async def test_sender_says_so_when_there_is_nothing_to_send() -> None:
    ran = await sluice("send", "-", settings={"URL": "http://127.0.0.1:1", "API_KEY": "sk_x"})
    assert (ran.status, ran.stdout) == (0, "queued 0: the file has no lines\n")


async def test_sender_ends_at_once_when_the_server_does_not_know_such_requests() -> None:
    async with moody(busy(501)) as server:
        sent = await send(server.url, "sk_x", "-", stdin=lines(*GOOD))
    assert sent.status == 2
    assert "the server answered 501" in sent.error
    assert "check --url" in sent.error


async def test_sender_does_not_follow_a_redirect() -> None:
    def redirect(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=308, headers={"Location": "/elsewhere"})

    async with moody(redirect) as server:
        sent = await send(server.url, "sk_x", "-", stdin=lines(*GOOD))
    assert sent.status == 2
    assert server.requests == 1


async def test_damaged_gzip_is_sent_as_far_as_it_goes_and_said(tmp_path: Path) -> None:
    path = tmp_path / "events.gz"
    path.write_bytes(gzip.compress(lines(*GOOD[:4]))[:-6])
    async with moody() as server:
        sent = await send(server.url, "sk_x", str(path))
    assert sent.status == 1
    assert "damaged" in sent.json["problem"]
    assert sent.json["queued"] == len(server.accepted)
