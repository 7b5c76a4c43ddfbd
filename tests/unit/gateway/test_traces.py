"""Which requests leave spans at the edge, and what travels with their rows."""

import asyncio

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.traces import MAX_RECORDED_PER_S, RequestTrace, RequestTraces
from sluice.core.envelope import Envelope, Rows
from sluice.core.errors import QueueUnavailableError
from sluice.core.trace_context import MAX_CARRIED, TraceContext, unpack_contexts
from sluice.core.trace_sampling import Sampling
from sluice.telemetry import TRACE_CONTEXTS_DROPPED, TRACE_SPANS
from tests.support.poll import poll_until
from tests.support.spans import KeptSpans
from tests.unit.gateway.queues import GatedQueue, running_publisher

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{TRACE}-b7ad6b7169203331-01"
UNSAMPLED = SAMPLED[:-1] + "0"
ROWS = [Rows("events", 1, b'{"n":1}\n')]
NEVER = Sampling(ratio=0.0)
ALWAYS = Sampling(ratio=1.0)


def begin(
    traces: RequestTraces, *parents: str, state: str = "", is_upkeep: bool = False
) -> RequestTrace | None:
    headers = CIMultiDict([("Traceparent", parent) for parent in parents])
    if state:
        headers.add("tracestate", state)
    route = "/api/ingestion/events/{event_id}"
    return traces.begin(CIMultiDictProxy(headers), "GET", route, is_upkeep=is_upkeep)


def travelling(trace: RequestTrace | None) -> list[TraceContext]:
    assert trace is not None
    with trace.publishing(ROWS) as publishing:
        return [
            one for rows in publishing.rows for text in rows.traces for one in unpack_contexts(text)
        ]


def test_sampled_context_travels_as_it_came_when_nothing_is_exported() -> None:
    [context] = travelling(begin(RequestTraces(), SAMPLED, state="a=1"))
    assert (context.traceparent, context.state) == (SAMPLED, "a=1")


@pytest.mark.parametrize(
    "parents", [(), (UNSAMPLED,), ("nonsense",), (SAMPLED, SAMPLED), (SAMPLED.upper(),)]
)
def test_nothing_travels_without_one_sampled_parent_when_nothing_is_exported(
    parents: tuple[str, ...],
) -> None:
    assert begin(RequestTraces(), *parents) is None


def test_request_leaves_two_spans_when_its_parent_is_sampled() -> None:
    tracer = KeptSpans(NEVER)
    trace = begin(RequestTraces(tracer, system="gcp_pubsub"), SAMPLED, state="a=1")
    [context] = travelling(trace)
    assert trace is not None
    trace.end(200, None, {"sluice.request_id": "r"})
    request, publish = tracer.spans
    assert request.parent is not None
    assert request.parent.traceparent == SAMPLED
    assert publish.parent == request.context
    assert context == publish.context
    assert (request.kind, publish.kind) == ("server", "producer")
    assert request.attributes == {
        "http.request.method": "GET",
        "http.route": "/api/ingestion/events/{event_id}",
        "url.path": "/api/ingestion/events/{event_id}",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "sluice.request_id": "r",
    }
    assert publish.attributes == {
        "messaging.system": "gcp_pubsub",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": "events",
        "messaging.batch.message_count": 1,
    }
    assert [span.ends for span in tracer.spans] == [1, 1]


@pytest.mark.parametrize("parents", [(), ("nonsense",)])
def test_sampler_decides_when_there_is_no_parent(parents: tuple[str, ...]) -> None:
    assert begin(RequestTraces(KeptSpans(NEVER)), *parents) is None
    assert begin(RequestTraces(KeptSpans(ALWAYS)), *parents) is not None


def test_request_leaves_no_span_when_its_parent_is_not_sampled() -> None:
    assert begin(RequestTraces(KeptSpans(ALWAYS)), UNSAMPLED) is None


def test_probe_leaves_no_span_unless_its_parent_is_sampled() -> None:
    traces = RequestTraces(KeptSpans(ALWAYS))
    assert begin(traces, is_upkeep=True) is None
    assert begin(traces, SAMPLED, is_upkeep=True) is not None


def test_sampled_context_travels_when_the_sampler_records_nothing() -> None:
    off = Sampling(ratio=0.0, follows_parent=False)
    tracer = KeptSpans(off)
    [context] = travelling(begin(RequestTraces(tracer), SAMPLED))
    assert context.traceparent == SAMPLED
    assert not tracer.spans


def test_request_past_the_bound_of_a_second_leaves_no_span_and_its_context_travels() -> None:
    tracer, now, dropped = KeptSpans(), 10.0, TRACE_SPANS.labels("dropped")
    before = dropped._value.get()
    traces = RequestTraces(tracer, monotonic=lambda: now)
    for _ in range(MAX_RECORDED_PER_S):
        begin(traces, SAMPLED)
    assert len(tracer.spans) == MAX_RECORDED_PER_S
    [context] = travelling(begin(traces, SAMPLED))
    assert context.traceparent == SAMPLED
    assert len(tracer.spans) == MAX_RECORDED_PER_S
    assert dropped._value.get() == before + 1
    now = 11.0
    begin(traces, SAMPLED)
    assert len(tracer.spans) == MAX_RECORDED_PER_S + 1


@pytest.mark.parametrize(
    ("status", "error_type", "failed"),
    [(200, None, None), (404, "not_found", None), (503, "spool_full", "spool_full")],
)
def test_request_fails_its_span_only_when_the_server_is_to_blame(
    status: int, error_type: str | None, failed: str | None
) -> None:
    tracer = KeptSpans()
    trace = begin(RequestTraces(tracer), SAMPLED)
    assert trace is not None
    trace.end(status, error_type, {})
    [span] = tracer.spans
    assert span.attributes.get("error.type") == failed
    assert span.attributes.get("sluice.error_type") == error_type


async def test_envelope_carries_the_contexts_of_its_requests_and_counts_those_past_its_bound() -> (
    None
):
    queue, tracer = GatedQueue(), KeptSpans()
    queue.gate.clear()
    dropped = TRACE_CONTEXTS_DROPPED.labels("envelope")
    before = dropped._value.get()
    async with running_publisher(queue) as publisher, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(publisher.publish(ROWS))
        await poll_until(lambda: queue.started == 1)
        traces = RequestTraces(tracer)
        for _ in range(MAX_CARRIED + 3):
            tasks.create_task(publisher.publish(ROWS, trace=begin(traces, SAMPLED)))
        tasks.create_task(publisher.publish(ROWS))
        await asyncio.sleep(0)
        queue.gate.set()
        assert await first is None
    alone, together = [one for commit in queue.commits for one in commit]
    assert isinstance(together, Envelope)
    assert alone.traces == ""
    assert together.count == MAX_CARRIED + 4
    publishes = tracer.named("publish events")
    assert unpack_contexts(together.traces) == [span.context for span in publishes[:MAX_CARRIED]]
    assert dropped._value.get() == before + 3
    assert all(span.ends == 1 for span in publishes)


async def test_publish_span_fails_when_the_rows_are_not_stored() -> None:
    queue, tracer = GatedQueue(), KeptSpans()
    queue.error = QueueUnavailableError("away")
    async with running_publisher(queue) as publisher:
        trace = begin(RequestTraces(tracer), SAMPLED)
        assert await publisher.publish(ROWS, trace=trace) is not None
    [publish] = tracer.named("publish events")
    assert publish.attributes["error.type"] == "spool_full"
    assert publish.ends == 1
