"""A collector that takes spans by OTLP over HTTP, as others' do, and keeps them for tests."""

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.support.poll import poll_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One span as it came."""

    service: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    """Empty: a trace begins."""
    state: str
    attributes: dict[str, str | int | bool | float]
    links: Sequence[tuple[str, str]]
    """Trace and span of each."""
    is_error: bool
    duration_ns: int
    started_ns: int


@dataclass(slots=True)
class Collector:
    """What was sent to it, and how it answers."""

    url: str = ""
    spans: list[Taken] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    status: int = 200
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: it takes requests and does not answer."""

    async def take(self, request: web.Request) -> web.Response:
        """Answer one export."""
        body = await request.read()
        await self.gate.wait()
        self.headers.append({name.lower(): text for name, text in request.headers.items()})
        if self.status != 200:
            return web.Response(status=self.status)
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.bodies.append(body)
        self.spans += _spans(ExportTraceServiceRequest.FromString(body))
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(),
            content_type="application/x-protobuf",
        )

    def named(self, name: str) -> list[Taken]:
        """Return the spans of that name."""
        return [span for span in self.spans if span.name == name]

    def children(self, parent: Taken) -> list[Taken]:
        """Return the children of a span."""
        return [
            one
            for one in self.spans
            if (one.trace_id, one.parent_id) == (parent.trace_id, parent.span_id)
        ]

    async def has(self, name: str, count: int = 1, *, within_s: float = 30) -> list[Taken]:
        """Wait until so many spans of that name were taken."""
        await poll_until(
            lambda: len(self.named(name)) >= count, within_s=within_s, what=f"{count} {name!r}"
        )
        return self.named(name)


def _spans(request: Any) -> list[Taken]:
    found: list[Taken] = []
    for resource in request.resource_spans:
        service = _values(resource.resource.attributes).get("service.name", "")
        for scope in resource.scope_spans:
            found += [
                Taken(
                    service=str(service),
                    name=span.name,
                    kind=span.kind,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    state=span.trace_state,
                    attributes=_values(span.attributes),
                    links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                    is_error=span.status.code == 2,
                    duration_ns=span.end_time_unix_nano - span.start_time_unix_nano,
                    started_ns=span.start_time_unix_nano,
                )
                for span in scope.spans
            ]
    return found


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@asynccontextmanager
async def running_collector() -> AsyncIterator[Collector]:
    """Run a collector until the block ends."""
    collector = Collector()
    collector.gate.set()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    async with _serving(app) as url:
        collector.url = url
        try:
            yield collector
        finally:
            collector.gate.set()
            # A thread that still sends would disturb tests that have nothing to do with it.
            await poll_until(lambda: not _senders(), within_s=30, what="all exporters ended")


def _senders() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("OtelBatchSpan", "spans-close"))]


@dataclass(slots=True)
class Tap:
    """Passes requests on to a server and keeps their headers."""

    url: str = ""
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Path with query, and headers by lower-case name."""

    def parents(self, is_wanted: Callable[[str], bool]) -> list[str]:
        """Return the ``traceparent`` of each such request; empty where it had none."""
        return [headers.get("traceparent", "") for path, headers in self.seen if is_wanted(path)]


@asynccontextmanager
async def tapped(upstream: str) -> AsyncIterator[Tap]:
    """Stand before a server, whose base address is ``upstream``, until the block ends."""
    tap = Tap()
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def pass_on(request: web.Request) -> web.Response:
            tap.seen.append(
                (request.path_qs, {name.lower(): text for name, text in request.headers.items()})
            )
            headers = {
                name: text
                for name, text in request.headers.items()
                if name.lower() not in {"host", "transfer-encoding", "content-length"}
            }
            async with session.request(
                request.method,
                upstream + request.path_qs,
                headers=headers,
                data=await request.read(),
            ) as answer:
                body = await answer.read()
                kept = {
                    name: text
                    for name, text in answer.headers.items()
                    if name.lower() not in {"transfer-encoding", "content-length", "connection"}
                }
                return web.Response(status=answer.status, body=body, headers=kept)

        app = web.Application(client_max_size=100_000_000)
        app.router.add_route("*", "/{rest:.*}", pass_on)
        async with _serving(app) as url:
            tap.url = url
            yield tap


@asynccontextmanager
async def _serving(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, auto_decompress=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
