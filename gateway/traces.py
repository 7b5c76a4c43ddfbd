"""Traces of requests: which are recorded, what their spans say, and what travels with their rows.

A request with a sampled ``traceparent`` always has its context travel with its events, so that who
called and what a destination does can be seen as one. Where traces are exported, it and a part of
the others (``OTEL_TRACES_SAMPLER``) leave two spans here: the request's own and that of its wait
for the queue. The second one is then what travels.

Attributes follow OpenTelemetry's semantic conventions for HTTP and messaging. None holds a payload,
a key or a user's id: of the address only the route is told, because ids are in paths and a token
may be in the query.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import getrandbits
from typing import Final

from multidict import CIMultiDictProxy, istr

from sluice.core.envelope import Rows
from sluice.core.trace_context import TraceContext, carried_text, parse_context
from sluice.telemetry import TRACE_SPANS
from sluice.tracing.spans import Span, Tracer, Value

TRACEPARENT: Final = istr("traceparent")
TRACESTATE: Final = istr("tracestate")
SERVER_ERRORS: Final = 500
MAX_RECORDED_PER_S: Final = 500
"""Requests of one process that leave spans. Anybody may send a sampled parent, and a recorded
request costs about as much again as any other; past the bound its context only goes on."""


class Publishing:
    """Rows on their way to the queue, with what travels with them."""

    __slots__ = ("_span", "rows")

    def __init__(self, rows: Sequence[Rows], context: TraceContext, span: Span | None) -> None:
        travels = (carried_text(context),)
        self.rows = [Rows(one.kind, one.count, one.data, travels) for one in rows]
        self._span = span

    def fail(self, error_type: str) -> None:
        """Say that they were not stored."""
        if self._span is not None:
            self._span.fail(error_type)


class RequestTrace:
    """The trace of one request.

    Args:
        context: What came, or the span's.
        recording: Where it is recorded: by whom, and the request's span.
        system: ``messaging.system`` of the queue.
    """

    __slots__ = ("_context", "_recording", "_system")

    def __init__(
        self, context: TraceContext, recording: tuple[Tracer, Span] | None, system: str
    ) -> None:
        self._context = context
        self._recording = recording
        self._system = system

    @contextmanager
    def publishing(self, rows: Sequence[Rows], topic: str = "events") -> Iterator[Publishing]:
        """Mark rows with the context that travels, while they are made durable."""
        if self._recording is None:
            yield Publishing(rows, self._context, None)
            return
        tracer, request = self._recording
        attributes: dict[str, Value] = {
            "messaging.system": self._system,
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            "messaging.destination.name": topic,
            "messaging.batch.message_count": sum(one.count for one in rows),
        }
        span = tracer.start(
            f"publish {topic}", kind="producer", attributes=attributes, parent=request.context
        )
        try:
            yield Publishing(rows, span.context, span)
        except BaseException as error:
            span.fail(type(error).__name__)
            raise
        finally:
            span.end()

    def end(self, status: int, error_type: str | None, said: dict[str, Value]) -> None:
        """End the request's span.

        Args:
            status: Of the answer.
            error_type: Of a refusal.
            said: Further attributes.
        """
        if self._recording is None:
            return
        _, span = self._recording
        span.set("http.response.status_code", status)
        for name, value in said.items():
            span.set(name, value)
        if error_type is not None:
            span.set("sluice.error_type", error_type)
        if status >= SERVER_ERRORS:
            span.fail(error_type or str(status))
        span.end()


class RequestTraces:
    """Begins the traces of requests.

    Args:
        tracer: Where spans go; None: traces are not exported.
        system: ``messaging.system`` of the queue.
        monotonic: The clock of the bound.
    """

    def __init__(
        self,
        tracer: Tracer | None = None,
        *,
        system: str = "sqlite",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tracer = tracer
        self._system = system
        self._monotonic = monotonic
        self._second = 0
        self._recorded = 0
        """Requests in this second."""
        self.is_recording = tracer is not None
        """Whether a request without a parent may leave spans."""

    def begin(
        self, headers: CIMultiDictProxy[str], method: str, route: str, *, is_upkeep: bool = False
    ) -> RequestTrace | None:
        """Return the trace of a request; None where it leaves none.

        Args:
            headers: Of the request.
            method: One that the route has.
            route: Its path, with ``{…}`` for what differs.
            is_upkeep: For orchestrators and Prometheus: recorded only with a sampled parent.
        """
        parents = headers.getall(TRACEPARENT, ())
        parent = parse_context(parents, headers.getall(TRACESTATE, ())) if parents else None
        tracer = self._tracer
        trace_id = getrandbits(128)
        if (
            tracer is None
            or (is_upkeep and parent is None)
            or not tracer.sampling.takes(parent, trace_id)
            or not self._has_room()
        ):
            if parent is None or not parent.is_sampled:
                return None
            return RequestTrace(parent, None, self._system)
        attributes: dict[str, Value] = {
            "http.request.method": method,
            "http.route": route,
            "url.path": route,
            "url.scheme": "http",
        }
        span = tracer.start(
            f"{method} {route}",
            kind="server",
            attributes=attributes,
            parent=parent,
            trace_id=trace_id,
        )
        return RequestTrace(span.context, (tracer, span), self._system)

    def _has_room(self) -> bool:
        """Whether one more may be recorded in this second; counts it if so."""
        second = int(self._monotonic())
        if second != self._second:
            self._second, self._recorded = second, 0
        if self._recorded >= MAX_RECORDED_PER_S:
            TRACE_SPANS.labels("dropped").inc()
            return False
        self._recorded += 1
        return True
