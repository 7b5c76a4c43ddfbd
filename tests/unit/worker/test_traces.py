"""What a worker records of a batch, and what it carries on to destinations."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest

from sluice.core.trace_context import TraceContext, carried_text, pack_contexts
from sluice.core.trace_sampling import Sampling
from sluice.queue.protocol import Delivery
from sluice.telemetry import TRACE_CONTEXTS_DROPPED
from sluice.tracing.spans import calling
from tests.support.queues import make_envelope
from tests.support.spans import KeptSpans
from worker.traces import MAX_CONTEXTS, BatchTraces


def context(number: int) -> TraceContext:
    return TraceContext(trace_id=f"{number:032x}", span_id=f"{number:016x}", is_sampled=True)


def delivery(*contexts: TraceContext) -> Delivery:
    packed = pack_contexts([carried_text(one) for one in contexts])
    return Delivery(
        subscription="warehouse",
        message_id=1,
        lease_id="l",
        attempt=1,
        published_at=0.0,
        envelope=msgspec.structs.replace(make_envelope(count=3), traces=packed),
    )


def headers_inside(traces: BatchTraces, batch: Sequence[Delivery]) -> dict[str, str]:
    """Return what a call carries that is made while the batch is delivered."""
    with traces.delivering(batch), calling("INSERT events", {}) as call:
        return dict(call.headers)


def test_call_carries_nothing_when_no_event_of_the_batch_is_traced() -> None:
    tracer = KeptSpans()
    assert headers_inside(BatchTraces(tracer, "warehouse"), [delivery(), delivery()]) == {}
    assert not tracer.spans


def test_call_carries_the_context_on_when_it_is_the_only_one_and_nothing_is_exported() -> None:
    traces = BatchTraces(None, "warehouse")
    one = context(1)
    assert headers_inside(traces, [delivery(), delivery(one), delivery(one)]) == one.headers


def test_call_carries_nothing_when_there_are_several_and_nothing_is_exported() -> None:
    traces = BatchTraces(None, "warehouse")
    assert headers_inside(traces, [delivery(context(1)), delivery(context(2))]) == {}


def test_call_is_the_grandchild_of_the_request_when_it_is_the_only_one() -> None:
    tracer = KeptSpans()
    carried = headers_inside(BatchTraces(tracer, "warehouse"), [delivery(context(1))])
    process, insert = tracer.spans
    assert (process.name, process.kind) == ("process warehouse", "consumer")
    assert process.parent == context(1)
    assert insert.parent == process.context
    assert carried == insert.context.headers
    assert process.attributes == {
        "messaging.system": "sqlite",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "events",
        "messaging.destination.subscription.name": "warehouse",
        "messaging.batch.message_count": 3,
        "sluice.tries": 0,
    }
    assert [span.ends for span in tracer.spans] == [1, 1]


def test_each_request_has_a_child_with_a_link_to_the_batch_when_there_are_several() -> None:
    tracer = KeptSpans()
    carried = headers_inside(
        BatchTraces(tracer, "warehouse"), [delivery(context(1), context(2)), delivery(context(3))]
    )
    [batch] = tracer.named("deliver warehouse")
    processes = tracer.named("process warehouse")
    [insert] = tracer.named("INSERT events")
    contexts = [context(number) for number in (1, 2, 3)]
    assert (batch.parent, list(batch.links)) == (None, contexts)
    assert [span.parent for span in processes] == contexts
    assert all(list(span.links) == [batch.context] for span in processes)
    assert insert.parent == batch.context
    assert carried == insert.context.headers
    assert all(span.ends == 1 for span in tracer.spans)


def test_contexts_past_the_bound_of_a_batch_are_dropped_and_counted() -> None:
    tracer = KeptSpans()
    dropped = TRACE_CONTEXTS_DROPPED.labels("batch")
    before = dropped._value.get()
    batch = [delivery(context(number)) for number in range(1, MAX_CONTEXTS + 6)]
    headers_inside(BatchTraces(tracer, "warehouse"), batch)
    assert len(tracer.named("process warehouse")) == MAX_CONTEXTS
    assert dropped._value.get() == before + 5


def test_context_is_carried_on_and_nothing_recorded_when_the_worker_samples_nothing() -> None:
    tracer = KeptSpans(Sampling(ratio=0.0, follows_parent=False))
    one = context(1)
    assert headers_inside(BatchTraces(tracer, "warehouse"), [delivery(one)]) == one.headers
    assert not tracer.spans


def test_spans_fail_and_end_when_a_delivery_or_a_call_raises() -> None:
    tracer = KeptSpans()
    traces = BatchTraces(tracer, "warehouse")
    with (
        pytest.raises(KeyError),
        traces.delivering([delivery(context(1))]),
        calling("INSERT events", {}),
    ):
        raise KeyError
    assert [span.attributes["error.type"] for span in tracer.spans] == ["KeyError", "KeyError"]
    assert [span.ends for span in tracer.spans] == [1, 1]


def test_nothing_is_in_hand_any_more_when_a_batch_is_delivered() -> None:
    headers_inside(BatchTraces(KeptSpans(), "warehouse"), [delivery(context(1))])
    with calling("INSERT events", {}) as call:
        assert not call.headers


def test_context_of_a_redelivered_envelope_is_the_same() -> None:
    tracer = KeptSpans()
    first = delivery(context(1))
    again = replace(first, attempt=2, lease_id="m")
    for one in (first, again):
        headers_inside(BatchTraces(tracer, "warehouse"), [one])
    assert [span.parent for span in tracer.named("process warehouse")] == [context(1)] * 2
