"""One event's trace: gateway, queue, worker, ClickHouse, Amplitude, and a collector of spans.

Gateway and worker run in this process over a real queue and a real engine; taps before ClickHouse
and Amplitude keep the headers that came.
"""

import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
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
SECRETS = b'{"user_id":"pl4nted-user","event_type":"e","payload":{"mail":"pl4nted-mail"}}'
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

    def worker(self) -> AbstractAsyncContextManager[str]:
        """Run a worker inside the block."""
        return self.forwarding.rig.worker()

    async def delivered(self, count: int = 1) -> None:
        async def have() -> bool:
            return len(await self.forwarding.taken()) >= count

        await poll_until(have, within_s=30, what=f"{count} events at Amplitude")
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
    """Run a gateway; the tenant forwards to the project as soon as there is a worker."""
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
    async with running_line(place, amplitude) as line, line.worker():
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
    url = f"pubsub://{names.project}"
    async with running_line(place, amplitude, queue_url=url) as line, line.worker():
        await line.send(("traceparent", PARENT), ("tracestate", STATE))
        await collector.has("process amplitude")
        await collector.has("process warehouse")
    assert_goes_on(collector, line, system="gcp_pubsub")


async def test_each_trace_has_its_child_of_one_batch_when_requests_are_delivered_together(
    place: Place, amplitude: AmplitudeProject, collector: Collector
) -> None:
    parents = [f"00-{number:032x}-{number:016x}-01" for number in range(1, 6)]
    async with running_line(place, amplitude) as line:
        for parent in parents:
            await line.send(("traceparent", parent))
        async with line.worker():
            await line.delivered(len(parents))
            await collector.has("process warehouse", len(parents))
            await collector.has("process amplitude", len(parents))
    for subscription in ("warehouse", "amplitude"):
        batch = one(collector.named(f"deliver {subscription}"))
        children = collector.named(f"process {subscription}")
        publishes = {span.span_id: span for span in collector.named("publish events")}
        assert {span.trace_id for span in children} == {parent[3:35] for parent in parents}
        assert {span.parent_id for span in children} == set(publishes)
        assert {span.links[0] for span in children} == {(batch.trace_id, batch.span_id)}
        assert sorted(batch.links) == sorted(
            (span.trace_id, span.span_id) for span in publishes.values()
        )
        assert batch.parent_id == ""
    insert = one(collector.named("INSERT events"))
    post = one(collector.named("POST"))
    assert {f"00-{insert.trace_id}-{insert.span_id}-01"} <= set(line.inserts())
    assert line.posts() == [f"00-{post.trace_id}-{post.span_id}-01"]


async def test_context_reaches_destinations_as_it_came_when_nothing_is_exported(
    place: Place, amplitude: AmplitudeProject
) -> None:
    async with running_line(place, amplitude) as line, line.worker():
        await line.send(("traceparent", PARENT), ("tracestate", STATE))
        await line.delivered()
    assert line.posts() == [PARENT]
    assert PARENT in line.inserts()
    assert {headers.get("tracestate") for _, headers in line.amplitude.seen} == {STATE}


async def test_no_destination_hears_of_a_trace_when_no_request_had_a_sampled_parent(
    place: Place, amplitude: AmplitudeProject
) -> None:
    async with running_line(place, amplitude) as line, line.worker():
        await line.send(("traceparent", PARENT[:-1] + "0"))
        await line.send(("traceparent", "nonsense"))
        await line.send()
        await line.delivered(3)
    assert {headers.get("traceparent") for _, headers in line.amplitude.seen} == {None}
    assert {headers.get("traceparent") for _, headers in line.clickhouse.seen} == {None}


async def test_no_span_holds_a_payload_a_key_or_a_users_id(
    place: Place, amplitude: AmplitudeProject, collector: Collector
) -> None:
    async with running_line(place, amplitude) as line, line.worker():
        await line.send(("traceparent", PARENT), body=SECRETS)
        await line.delivered()
        await collector.has("process amplitude")
        await collector.has("process warehouse")
        answer = await line.gateway.ask(
            "GET", "/api/ingestion/events/pl4nted-id?token=pl4nted-token", ("traceparent", PARENT)
        )
        assert answer.status == 401
        await collector.has("GET /api/ingestion/events/{event_id}")
    told = b"".join(collector.bodies)
    assert b"publish events" in told
    keys = (line.gateway.api_key, amplitude.api_key, engine_password(place))
    for secret in (b"pl4nted", *(key.encode() for key in keys)):
        assert secret not in told


async def test_call_fails_its_span_and_the_batch_goes_on_when_a_destination_refuses_at_first(
    place: Place, amplitude: AmplitudeProject, collector: Collector
) -> None:
    await amplitude.set(fault="503", times=2)
    async with running_line(place, amplitude) as line, line.worker():
        await line.send(("traceparent", PARENT))
        await line.delivered()
        await collector.has("process amplitude")
    failed = [span.attributes.get("error.type") for span in collector.named("POST")]
    assert sorted(failed, key=str) == ["503", "503", None]
    process = one(collector.named("process amplitude"))
    assert (process.is_error, process.attributes["sluice.tries"]) == (False, 1)


def engine_password(place: Place) -> str:
    password = urlsplit(place.engine_url).password
    assert password
    return password
