"""Documents and answers that mean harm: each is stopped with a clear error, and the worker goes on.

Everything is real: servers on loopback, the client, files. What may be reached is listed; nothing
else on this machine or its network may be.
"""

import asyncio
import gzip
import threading
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from aiohttp import web
from aiohttp.abc import ResolveResult

from sluice.workflows.core.document import parse
from tests.support.poll import poll_until
from tests.support.workflows import (
    MIB,
    Handler,
    Served,
    asking,
    description,
    document,
    place_of_files,
    planned,
    program,
    run_files,
    serving,
    shell,
)
from worker.workflows import resolving
from worker.workflows.core.state import Answer, NoAnswer
from worker.workflows.http import MAX_AT_ONCE, MAX_OF_TENANT, Bounds, HttpShell
from worker.workflows.local_run import Outcome, run_locally
from worker.workflows.resolving import MAX_LOOKUPS, MAX_LOOKUPS_OF_TENANT

CSV = {"Content-Type": "text/csv"}
BOMB = gzip.compress(bytes(64 * MIB))
BOUNDS = Bounds(timeout_s=10, max_redirects=5)
ANYWHERE = Bounds(timeout_s=10, max_redirects=5, may_leave_origin=True)


async def fine(_request: web.Request) -> web.StreamResponse:
    return web.json_response({"fine": True})


def answering(body: bytes, **headers: str) -> Handler:
    async def answer(_request: web.Request) -> web.StreamResponse:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(body=body, headers={**CSV, **given})

    return answer


@asynccontextmanager
async def raw_serving(answer: bytes, *, then_wait: bool = False) -> AsyncIterator[Served]:
    """A server that sends these bytes, whatever it is asked."""
    finished = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if then_wait:
                await finished.wait()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    async with server:
        yield Served(url=f"http://{host}:{port}")
        finished.set()


def files_in(folder: Path) -> list[Path]:
    return [one for one in folder.rglob("*") if one.is_file()]


async def sent(
    http: HttpShell, url: str, folder: Path, bounds: Bounds = BOUNDS, max_bytes: int = 8 * MIB
) -> Answer | NoAnswer:
    return await http.send(asking(url), bounds, place_of_files(run_files(folder, max_bytes)))


async def ran(
    served: Served, http: HttpShell, folder: Path, text: bytes, source: bytes | None = None
) -> Outcome:
    """Run a document to its end."""
    made = planned(text, source or description(served.url, call={}))
    return await run_locally(
        program(made, http, run_files(folder)), lambda _told: None, asyncio.Event()
    )


# Bodies


@pytest.mark.parametrize(
    ("body", "coding", "words"),
    [
        (BOMB, "gzip", "grows more than 200 times"),
        (zlib.compress(bytes(64 * MIB), 9), "deflate", "grows more than 200 times"),
        (zstandard.compress(bytes(64 * MIB)), "zstd", "grows more than 200 times"),
        (gzip.compress(BOMB), "gzip, gzip", "'gzip, gzip'"),
        (b"\x5b\xff\xff\xff\x00", "br", "compressed as 'br'"),
        (gzip.compress(b"a,b\n" * 99)[:-9], "gzip", "ends too early"),
        (b"no gzip at all", "gzip", "is not the gzip it says"),
        (gzip.compress(b"") * 1_001, "gzip", "has more than 1,000 parts"),
    ],
    ids=["gzip", "deflate", "zstd", "twice", "unasked", "cut", "none", "members"],
)
async def test_shell_refuses_body_that_explodes_when_it_is_decompressed(
    tmp_path: Path, body: bytes, coding: str, words: str
) -> None:
    async with serving(answering(body, Content_Encoding=coding)) as served, shell(served) as http:
        answer = await sent(http, served.url, tmp_path, max_bytes=1024 * MIB)
    assert isinstance(answer, NoAnswer)
    assert (answer.kind, answer.was_sent) == ("hostile", True)
    assert words in answer.detail
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("is_announced", [True, False])
async def test_shell_refuses_body_beyond_its_bound_and_leaves_no_file(
    tmp_path: Path, *, is_announced: bool
) -> None:
    taken = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal taken
        response = web.StreamResponse(headers=CSV)
        if is_announced:
            response.content_length = 1024 * MIB
        await response.prepare(request)
        for _ in range(1024):
            await response.write(bytes(MIB))
            taken += MIB
        return response

    async with serving(endless) as served, shell(served) as http:
        answer = await sent(http, served.url, tmp_path)
    assert isinstance(answer, NoAnswer)
    assert (answer.kind, answer.detail) == ("hostile", "it is larger than 8,388,608 bytes")
    assert taken < 64 * MIB
    assert files_in(tmp_path) == []


async def test_shell_reads_no_more_of_an_error_than_is_kept_of_any_text(tmp_path: Path) -> None:
    async def failing(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=500, headers={"Content-Type": "text/html"})
        await response.prepare(request)
        for _ in range(1024):
            await response.write(b"a" * MIB)
        return response

    async with serving(failing) as served, shell(served) as http:
        answer = await sent(http, served.url, tmp_path)
    assert isinstance(answer, Answer)
    assert answer.status == 500
    assert isinstance(answer.body, bytes)
    assert len(answer.body) == 256 * 1024


async def test_slow_drip_ends_with_the_time_of_its_step(tmp_path: Path) -> None:
    async def dripping(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=CSV)
        await response.prepare(request)
        while True:
            await response.write(b"a")
            await asyncio.sleep(0.05)

    async with serving(dripping) as served, shell(served) as http:
        text = document({"stepId": "a", "operationId": "call", "timeout": 400, **ONCE})
        began = time.monotonic()
        outcome = await ran(served, http, tmp_path, text)
    assert time.monotonic() - began < 5
    assert outcome.error is not None
    assert outcome.error.type == "sluice.workflow.step/timeout"
    assert outcome.error.message == "Step a: no answer within 0.4 s"


ONCE = {"onFailure": [{"name": "no", "type": "end"}], "x-sluice-idempotency": "unsafe"}
"""No retries of the executor's own."""

# Headers, and what is no HTTP


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"X-Big: " + b"a" * 20_000, "one of its headers is longer than 16,384 bytes"),
        (b"\r\n".join(b"X-%d: " % n + b"a" * 8_000 for n in range(100)), "its headers are longer"),
        (b"\r\n".join(b"X-%d: a" % n for n in range(5_000)), "not HTTP as it should be"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5", "not HTTP as it should be"),
    ],
    ids=["one", "together", "many", "smuggling"],
)
async def test_shell_refuses_headers_beyond_their_bounds(
    tmp_path: Path, head: bytes, words: str
) -> None:
    answer_text = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\nhello"
    async with raw_serving(answer_text) as served, shell(served) as http:
        answer = await sent(http, served.url, tmp_path)
    assert isinstance(answer, NoAnswer)
    assert answer.kind == "hostile"
    assert words in answer.detail


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "hostile", "not HTTP as it should be"),
        (b"", "network", "the connection was cut"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf", "network", "cut short"),
    ],
    ids=["another protocol", "nothing", "half a body"],
)
async def test_shell_says_what_came_instead_of_an_answer(
    tmp_path: Path, text: bytes, kind: str, words: str
) -> None:
    async with raw_serving(text) as served, shell(served) as http:
        answer = await sent(http, served.url, tmp_path)
    assert isinstance(answer, NoAnswer)
    assert (answer.kind, answer.was_sent) == (kind, True)
    assert words in answer.detail


# Addresses


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "0.0.0.0",  # noqa: S104 - it is asked for, not bound to
        "[::]",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "100.100.100.200",
        "224.0.0.1",
        "[fe80::1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ],
)
async def test_no_document_reaches_what_is_not_public(tmp_path: Path, host: str) -> None:
    async with serving(fine) as served, shell() as http:
        port = served.url.rpartition(":")[2]
        text = document({"stepId": "a", "operationId": "call"})
        source = description(f"http://{host}:{port}", call={})
        outcome = await ran(served, http, tmp_path, text, source)
    assert served.requests == []
    assert outcome.error is not None
    assert (outcome.error.attribution, outcome.error.type) == (
        "customer",
        "sluice.workflow.step/http",
    )
    assert "Step a was not sent: " in outcome.error.message


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("http://169.254.169.254/latest/meta-data/", "169.254.169.254:80 is not on the public"),
        ("http://metadata.invalid@127.0.0.1/", "it redirects, but the new address is not http(s)"),
        ("http://[::ffff:169.254.169.254]/", "is not on the public internet"),
        ("http://2852039166/", "an IP address in an unusual spelling"),
        ("http://localhost:1/", "localhost:1 is not on the public internet"),
        ("file:///etc/passwd", "it redirects, but the new address is not http(s)"),
        ("gopher://a.example/", "it redirects, but the new address is not http(s)"),
        ("http://[::1/", "it redirects, but the new address is none"),
        ("/" + "a" * 16_100, "the new address is longer than 16,000 characters"),
    ],
)
async def test_redirect_leads_to_nothing_that_is_not_public(
    tmp_path: Path, location: str, words: str
) -> None:
    async def redirecting(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": location})

    async with serving(redirecting) as served, shell(served) as http:
        answer = await sent(http, served.url, tmp_path, ANYWHERE)
    assert isinstance(answer, NoAnswer)
    assert (answer.kind, answer.was_sent) == ("hostile", True)
    assert words in answer.detail


async def test_redirect_to_another_port_of_the_machine_is_not_followed(tmp_path: Path) -> None:
    async with serving(fine) as inner:

        async def redirecting(_request: web.Request) -> web.StreamResponse:
            return web.Response(status=307, headers={"Location": f"{inner.url}/admin"})

        async with serving(redirecting) as served, shell(served) as http:
            answer = await sent(http, served.url, tmp_path, ANYWHERE)
    assert isinstance(answer, NoAnswer)
    assert answer.kind == "hostile"
    assert inner.requests == []


async def test_redirect_to_another_origin_needs_a_description_that_says_so(tmp_path: Path) -> None:
    step = {"stepId": "a", "operationId": "call", "outputs": {"x": "$response.body"}}
    token = {"name": "X-Api-Token", "in": "header", "value": "t0ken"}
    basic = {"name": "Authorization", "in": "header", "value": "Basic Zm9v"}
    text = document({**step, "parameters": [token, basic]}, outputs={"x": "$steps.a.outputs.x"})
    async with serving(fine) as storage:

        async def redirecting(_request: web.Request) -> web.StreamResponse:
            return web.Response(status=302, headers={"Location": f"{storage.url}/x?Signature=s"})

        async with serving(redirecting) as served, shell(served, storage) as http:
            refused = await ran(served, http, tmp_path, text)
            assert storage.requests == []
            declared: dict[str, object] = {"responses": {"200": {}, "302": {}}}
            source = description(served.url, call=declared)
            followed = await ran(served, http, tmp_path, text, source)
    assert refused.error is not None
    assert refused.error.attribution == "customer"
    assert f"another origin, {storage.place}, and the description" in refused.error.message
    assert "Signature" not in refused.error.message
    assert followed.outputs == {"x": {"fine": True}}
    [(_, path, headers)] = storage.requests
    assert path == "/x?Signature=s"
    assert not {"Authorization", "X-Api-Token"} & headers.keys()


@pytest.mark.parametrize("target", ["/again", "/{n}"])
async def test_redirects_in_a_circle_end(tmp_path: Path, target: str) -> None:
    async def redirecting(request: web.Request) -> web.StreamResponse:
        return web.Response(
            status=302, headers={"Location": target.format(n=len(request.path) + 1) + "x"}
        )

    async with serving(redirecting) as served, shell(served) as http:
        answer = await sent(http, served.url, tmp_path)
    assert isinstance(answer, NoAnswer)
    assert (answer.kind, answer.detail) == ("hostile", "it redirects more than 5 times")
    assert len(served.requests) == 6


async def test_what_writes_is_not_redirected(tmp_path: Path) -> None:
    async def redirecting(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with serving(redirecting) as served, shell(served) as http:
        text = document({"stepId": "a", "operationId": "call"})
        source = description(served.url, call={"method": "post"})
        outcome = await ran(served, http, tmp_path, text, source)
    assert outcome.error is not None
    assert outcome.error.message == "Step a: the service answered 307"
    assert served.paths == ["/call"]


# Documents


async def test_loop_without_end_is_ended(tmp_path: Path) -> None:
    again = {"name": "again", "type": "goto", "stepId": "a", "x-sluice-poll-seconds": 0}
    async with serving(fine) as served, shell(served) as http:
        text = document({"stepId": "a", "operationId": "call", "onSuccess": [again]})
        outcome = await ran(served, http, tmp_path, text)
    assert outcome.error is not None
    assert (outcome.error.attribution, outcome.error.type) == (
        "customer",
        "sluice.workflow.step/loop-limit",
    )
    assert len(served.requests) == 500


async def test_value_that_is_named_too_often_is_not_sent(tmp_path: Path) -> None:
    names = "".join("{$inputs.text}" for _ in range(1_000))
    header = {"name": "x", "in": "header", "value": names}
    async with serving(fine) as served, shell(served) as http:
        made = planned(
            document(
                {"stepId": "a", "operationId": "call", "parameters": [header]},
                inputs={"type": "object", "properties": {"text": {"type": "string"}}},
            ),
            description(served.url, call={}),
        )
        started = program(made, http, run_files(tmp_path), inputs={"text": "x" * 100_000})
        outcome = await run_locally(started, lambda _told: None, asyncio.Event())
    assert served.requests == []
    assert outcome.error is not None
    assert outcome.error.attribution == "customer"
    assert "larger than 10,485,760 bytes" in outcome.error.message


async def test_run_that_keeps_too_much_is_ended(tmp_path: Path) -> None:
    async def talking(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"text": "x" * 200_000})

    steps = [
        {"stepId": f"s{at}", "operationId": "call", "outputs": {"x": "$response.body"}}
        for at in range(30)
    ]
    async with serving(talking) as served, shell(served) as http:
        outcome = await ran(served, http, tmp_path, document(*steps))
    assert outcome.error is not None
    assert outcome.error.attribution == "customer"
    assert "keeps more than 4,194,304 bytes" in outcome.error.message
    assert len(served.requests) == 21


def test_aliases_that_explode_are_refused_while_they_grow() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    began = time.monotonic()
    refused = parse("\n".join(lines).encode())
    assert isinstance(refused, tuple)
    assert refused[0].reason == "holds more than 50,000 values, aliases counted as used"
    assert time.monotonic() - began < 5


async def test_shell_serves_others_while_and_after_it_is_attacked(tmp_path: Path) -> None:
    """One shell is for all runs: what one answer does must not be felt by the next."""

    async def bomb(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=BOMB, headers={**CSV, "Content-Encoding": "gzip"})

    async with serving(bomb) as evil, serving(fine) as good, shell(evil, good) as http:
        answers: list[Answer | NoAnswer] = []

        async def ask(url: str) -> None:
            answers.append(await sent(http, url, tmp_path, max_bytes=1024 * MIB))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(10):
                tasks.create_task(ask(evil.url))
                tasks.create_task(ask(good.url))
    assert sum(isinstance(one, Answer) for one in answers) == 10
    assert sum(isinstance(one, NoAnswer) for one in answers) == 10


async def test_tenant_whose_answers_do_not_come_leaves_room_for_others(tmp_path: Path) -> None:
    asked = 0

    async def silent(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        await asyncio.sleep(60)
        return web.Response()

    stuck = place_of_files(run_files(tmp_path))
    other = replace(stuck, tenant="other")
    async with (
        serving(silent) as hole,
        serving(fine) as served,
        shell(hole, served) as http,
        asyncio.TaskGroup() as tasks,
    ):
        waiting = [
            tasks.create_task(http.send(asking(hole.url), replace(BOUNDS, timeout_s=50), stuck))
            for _ in range(MAX_AT_ONCE + 1)
        ]
        await poll_until(lambda: asked == MAX_OF_TENANT, within_s=30, what="its share is used up")
        answer = await http.send(asking(served.url), BOUNDS, other)
        assert isinstance(answer, Answer)
        assert asked == MAX_OF_TENANT
        for one in waiting:
            one.cancel()


async def test_tenant_whose_name_servers_are_dead_leaves_others_their_lookups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = threading.Event()
    looked_up = resolving._addresses
    waiting: list[str] = []

    def slow(host: str, port: int, family: int) -> list[ResolveResult]:
        if host.endswith(".dead.example"):
            waiting.append(host)
            alive.wait(20)
        return looked_up("localhost", port, family)

    monkeypatch.setattr(resolving, "_addresses", slow)
    stuck = place_of_files(run_files(tmp_path))
    other = replace(stuck, tenant="other")
    dead = [f"http://n{number}.dead.example/" for number in range(MAX_LOOKUPS + 1)]
    async with HttpShell() as http, asyncio.TaskGroup() as tasks:
        brief = replace(BOUNDS, timeout_s=0.5)
        asked = [tasks.create_task(http.send(asking(url), brief, stuck)) for url in dead]
        await poll_until(lambda: all(one.done() for one in asked), what="they gave up")
        assert len(waiting) == MAX_LOOKUPS_OF_TENANT
        answer = await http.send(asking("http://fine.example/"), BOUNDS, other)
        alive.set()
    assert isinstance(answer, NoAnswer)
    assert "not on the public internet" in answer.detail
