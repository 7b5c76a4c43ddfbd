"""Traces of batches: what a worker does with the events of sampled requests.

A batch gathers the events of many requests. Where they came with one context, the worker's span is
its child, and what it calls are children of that. Where they came with several, the batch has a
trace of its own, in which its calls are, and each context gets a child that says how long its
events took and links to the batch; so a trace of a request is whole in either case.

Without an exporter nothing is recorded, and a single context is carried on to the destination as it
came. Of several none is: a call belongs to one trace.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Final

from sluice.core.trace_context import TraceContext, unpack_contexts
from sluice.queue.protocol import TOPICS, Delivery
from sluice.telemetry import TRACE_CONTEXTS_DROPPED
from sluice.tracing.spans import Span, Tracer, Value, in_hand

MAX_CONTEXTS: Final = 128
"""Of one batch; those past it are dropped and counted. OpenTelemetry's bound on links, too."""
_TOPIC_OF: Final = {name: topic for topic, names in TOPICS.items() for name in names}


class BatchTrace:
    """The spans of one batch, which end together."""

    __slots__ = ("_spans", "_tries")

    def __init__(self, spans: Sequence[Span] = ()) -> None:
        self._spans = spans
        self._tries = 0

    def tried(self) -> None:
        """Count a try."""
        self._tries += 1

    def fail(self, error_type: str) -> None:
        """Say that the batch was not delivered."""
        for span in self._spans:
            span.fail(error_type)

    def end(self) -> None:
        """End all spans."""
        for span in self._spans:
            span.set("sluice.tries", self._tries)
            span.end()


class BatchTraces:
    """Follows the batches of one subscription.

    Args:
        tracer: Where spans go; None: traces are not exported.
        subscription: Whose batches.
        system: ``messaging.system`` of the queue.
    """

    def __init__(self, tracer: Tracer | None, subscription: str, *, system: str = "sqlite") -> None:
        self._tracer = tracer
        self._subscription = subscription
        self._system = system

    @contextmanager
    def delivering(self, deliveries: Sequence[Delivery]) -> Iterator[BatchTrace | None]:
        """Follow one batch while it is delivered; None where nothing of it is traced."""
        packed = [text for one in deliveries if (text := one.envelope.traces)]
        contexts = _contexts(packed) if packed else []
        tracer = self._tracer
        recorded = [one for one in contexts if tracer and tracer.sampling.takes(one, 0)]
        if tracer is None or not recorded:
            with in_hand(contexts[0]) if len(contexts) == 1 else nullcontext():
                yield None
            return
        events = sum(one.envelope.count for one in deliveries)
        spans = self._start(tracer, recorded, events)
        trace = BatchTrace(spans)
        try:
            with in_hand((tracer, spans[0])):
                yield trace
        except BaseException as error:
            trace.fail(type(error).__name__)
            raise
        finally:
            trace.end()

    def _start(self, tracer: Tracer, contexts: Sequence[TraceContext], events: int) -> list[Span]:
        """Return the span that calls belong to, then the others."""
        attributes: dict[str, Value] = {
            "messaging.system": self._system,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": _TOPIC_OF.get(self._subscription, self._subscription),
            "messaging.destination.subscription.name": self._subscription,
            "messaging.batch.message_count": events,
        }
        name = f"process {self._subscription}"
        if len(contexts) == 1:
            return [tracer.start(name, kind="consumer", attributes=attributes, parent=contexts[0])]
        batch = tracer.start(
            f"deliver {self._subscription}", kind="internal", attributes=attributes, links=contexts
        )
        return [
            batch,
            *(
                tracer.start(
                    name,
                    kind="consumer",
                    attributes=attributes,
                    parent=context,
                    links=[batch.context],
                )
                for context in contexts
            ),
        ]


def _contexts(packed: Sequence[str]) -> list[TraceContext]:
    """Return what envelopes carry, each once, up to the bound."""
    found = dict.fromkeys(context for text in packed for context in unpack_contexts(text))
    contexts = list(found)
    if len(contexts) > MAX_CONTEXTS:
        TRACE_CONTEXTS_DROPPED.labels("batch").inc(len(contexts) - MAX_CONTEXTS)
    return contexts[:MAX_CONTEXTS]
