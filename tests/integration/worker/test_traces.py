"""One event's trace: gateway, queue, worker, ClickHouse, Amplitude, and a collector of spans.

Gateway and worker run in this process over a real queue and a real engine; taps before ClickHouse
and Amplitude keep the headers that came.
"""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from sluice.queue.pubsub_setup import ensure_topics
from sluice.queue.pubsub_wire import Names
from tests.support.amplitude import AmplitudeProject
from tests.support.collector import Collector, Taken, Tap, running_collector, tapped
from tests.support.forwarding_rig import ForwardingRig, forwarding
from tests.support.gateway import EVENT, TRACK, Gateway, running_gateway
from tests.support.poll import poll_until
from tests.support.worker_rig import Place

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
STATE = "vendor=opaque,rojo=1"
SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the tests' own environment says of OpenTelemetry is not meant for Sluice."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME", "OTEL_TRACES_SAMPLER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """A collector that gateway and worker are told of, and that is told soon."""
    async with running_collector() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield running


@dataclass(slots=True)
class Line:
    """A gateway and a worker over one queue, with taps before what the worker calls."""

    gateway: Gateway
    forwarding: ForwardingRig
    clickhouse: Tap
    amplitude: Tap

    async def send(
        self, *headers: tuple[str, str], target: str = TRACK, body: bytes = EVENT
    ) -> None:
        answer = await self.gateway.send(self.gateway.track_bytes(body, *headers, target=target))
        assert answer.status in {200, 202}, answer

    async def delivered(self, count: int = 1) -> None:
        async def have() -> bool:
            return len(await self.forwarding.taken()) >= count

        await poll_until(have, within_s=20, what=f"{count} events at Amplitude")
        await self.forwarding.drained()

    def inserts(self) -> list[str]:
        """Return the ``traceparent`` of each insert of events."""
        return self.clickhouse.parents(lambda path: "INSERT" in path and "events" in path)

    def posts(self) -> list[str]:
        """Return the ``traceparent`` of each request to Amplitude."""
        return self.amplitude.parents(lambda path: path == "/2/httpapi")


@asynccontextmanager
async def running_line(
    place: Place, project: AmplitudeProject, **settings: object
) -> AsyncIterator[Line]:
    """Run gateway and worker; the tenant forwards to the project."""
    engine = urlsplit(place.engine_url)
    async with (
        tapped(f"http://{engine.hostname}:{engine.port}") as clickhouse,
        tapped(project.url) as amplitude,
    ):
        there = place.engine_url.replace(f"{engine.hostname}:{engine.port}", clickhouse.url[7:])
        given: dict[str, object] = {"amplitude_url": amplitude.url, **settings}
        async with (
            forwarding(Place(place.folder, there), project, **given) as rig,
            running_gateway(place.folder, **settings) as gateway,
            rig.rig.worker(),
        ):
            yield Line(gateway, rig, clickhouse, amplitude)


def one(spans: list[Taken]) -> Taken:
    assert len(spans) == 1, spans
    return spans[0]


def assert_goes_on(collector: Collector, line: Line, *, system: str) -> None:
    """The trace of one request with ``PARENT`` is whole, and ClickHouse and Amplitude know it."""
    server = one(collector.named("POST /api/ingestion/track"))
    assert (server.trace_id, server.parent_id) == (TRACE, PARENT.split("-")[2])
    assert (server.kind, server.service, server.state) == (SERVER, "sluice-gateway", STATE)
    publish = one(collector.children(server))
    assert (publish.name, publish.kind) == ("publish events", PRODUCER)
    assert publish.attributes["messaging.system"] == system
    processes = {span.name: span for span in collector.children(publish)}
    assert set(processes) == {"process warehouse", "process amplitude"}
    assert {span.kind for span in processes.values()} == {CONSUMER}
    assert {span.service for span in processes.values()} == {"sluice-worker"}
    calls = collector.children(processes["process warehouse"])
    insert = one([span for span in calls if span.name == "INSERT events"])
    assert insert.kind == CLIENT
    assert f"00-{TRACE}-{insert.span_id}-01" in line.inserts()
    post = one([s for s in collector.children(processes["process amplitude"]) if s.name == "POST"])
    assert line.posts() == [f"00-{TRACE}-{post.span_id}-01"]
    assert post.attributes["http.response.status_code"] == 200
    assert {span.trace_id for span in collector.spans} == {TRACE}
    assert not any(span.is_error for span in collector.spans)


async def test_trace_goes_from_the_request_to_each_destination_when_its_parent_is_sampled(
    place: Place, amplitude: AmplitudeProject, collector: Collector
) -> None:
    async with running_line(place, amplitude) as line:
        await line.send(("traceparent", PARENT), ("tracestate", STATE))
        await line.delivered()
        await collector.has("process amplitude")
        await collector.has("process warehouse")
    assert_goes_on(collector, line, system="sqlite")


async def test_trace_goes_on_when_pubsub_carries_it(
    place: Place, amplitude: AmplitudeProject, collector: Collector, pubsub_emulator: str
) -> None:
    names = Names(f"project-{uuid.uuid4().hex[:12]}")
    await ensure_topics(names)
    async with running_line(place, amplitude, queue_url=f"pubsub://{names.project}") as line:
        await line.send(("traceparent", PARENT), ("tracestate", STATE))
        await collector.has("process amplitude")
        await collector.has("process warehouse")
    assert_goes_on(collector, line, system="gcp_pubsub")
