"""Spans to a collector, by OpenTelemetry's SDK; alone imports its packages.

* Ending a span puts it into a queue in memory; one thread of the SDK sends batches of them. Nothing
  waits for the collector, and nothing fails because of it.
* At most ``OTEL_BSP_MAX_QUEUE_SIZE`` spans (2048) wait or are being sent; more are dropped and
  counted. A batch that the collector does not take within ``OTEL_EXPORTER_OTLP_TIMEOUT`` (10 s) is
  dropped and counted, too.
* On leaving, what waits is sent within ``CLOSE_TIMEOUT_S``; the rest is lost.

The packages' own log lines are left out: some repeat an address or a header, in which secrets are.
"""

import asyncio
import logging
import os
import threading
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, Literal

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

import sluice
from sluice.core.trace_context import TraceContext
from sluice.core.trace_sampling import Sampling
from sluice.logs import get_logger
from sluice.telemetry import TRACE_SPANS
from sluice.tracing.spans import Kind, Value

CLOSE_TIMEOUT_S: Final = 0.5
"""Less than what a stopping process has left when it has used up its time to stop."""
MAX_WAITING: Final = 2_048
"""Spans, where ``OTEL_BSP_MAX_QUEUE_SIZE`` says nothing; the SDK's own default."""
_KINDS: Final[Mapping[Kind, trace.SpanKind]] = {
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "producer": trace.SpanKind.PRODUCER,
    "consumer": trace.SpanKind.CONSUMER,
    "internal": trace.SpanKind.INTERNAL,
}
_SAMPLED: Final = trace.TraceFlags(trace.TraceFlags.SAMPLED)

log: Final = get_logger(__name__)


class _Counted(SpanExporter):
    """An exporter whose outcomes are counted; used by the one thread that sends."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._is_failing = False
        self.settled = 0
        """Spans that are on their way no more."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self.settled += len(spans)
            is_failing = result is not SpanExportResult.SUCCESS
            TRACE_SPANS.labels("failed" if is_failing else "exported").inc(len(spans))
            if is_failing and not self._is_failing:
                log.warning("The collector does not take spans; they are dropped")
            elif self._is_failing and not is_failing:
                log.info("The collector takes spans again")
            self._is_failing = is_failing
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _Bounded(SpanProcessor):
    """Hands spans to the SDK's queue, unless as many as it may hold are on their way."""

    def __init__(self, exporter: _Counted, batches: BatchSpanProcessor, max_waiting: int) -> None:
        self._exporter = exporter
        self._batches = batches
        self._max_waiting = max_waiting
        self._given = 0

    def on_end(self, span: ReadableSpan) -> None:
        if self._given - self._exporter.settled >= self._max_waiting:
            TRACE_SPANS.labels("dropped").inc()
            return
        self._given += 1
        self._batches.on_end(span)

    def shutdown(self) -> None:
        self._batches.shutdown()  # type: ignore[no-untyped-call]  # it is not annotated


class _Ids(RandomIdGenerator):
    """Gives the next trace the id by which it was sampled."""

    next_trace_id = 0

    def generate_trace_id(self) -> int:
        trace_id, self.next_trace_id = self.next_trace_id, 0
        return trace_id or super().generate_trace_id()


class OtlpSpan:
    """A span of the SDK, as ``spans.Span``."""

    __slots__ = ("_span", "context")

    def __init__(self, span: SdkSpan, state: str) -> None:
        self._span = span
        own = span.get_span_context()
        assert own is not None  # noqa: S101 - a started span has one
        self.context = TraceContext(
            trace_id=trace.format_trace_id(own.trace_id),
            span_id=trace.format_span_id(own.span_id),
            is_sampled=True,
            state=state,
        )

    def set(self, name: str, value: Value) -> None:
        """Set an attribute."""
        self._span.set_attribute(name, value)

    def fail(self, error_type: str) -> None:
        """Say that it failed."""
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(trace.StatusCode.ERROR)

    def end(self) -> None:
        """Hand it to the exporter."""
        self._span.end()


class OtlpTracer:
    """``spans.Tracer`` over the SDK; used on one event loop.

    Raises:
        ValueError: A variable of OpenTelemetry has a value that its SDK does not take.
        OSError: A certificate cannot be read.
    """

    def __init__(self, process: Literal["gateway", "worker"], sampling: Sampling) -> None:
        self.sampling = sampling
        _silence()
        self._exporter = exporter = _Counted(OTLPSpanExporter())
        batches = BatchSpanProcessor(exporter)
        self._ids = _Ids()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # what is not sampled does not come this far
            resource=_resource(process),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        max_waiting = int(os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE", "").strip() or MAX_WAITING)
        self._provider.add_span_processor(_Bounded(exporter, batches, max_waiting))
        self._tracer = self._provider.get_tracer("sluice", sluice.__version__)

    def start(
        self,
        name: str,
        *,
        kind: Kind,
        attributes: Mapping[str, Value],
        parent: TraceContext | None = None,
        trace_id: int = 0,
        links: Sequence[TraceContext] = (),
    ) -> OtlpSpan:
        """Start a span; see ``spans.Tracer``."""
        self._ids.next_trace_id = trace_id
        above = trace.NonRecordingSpan(
            trace.INVALID_SPAN_CONTEXT if parent is None else _remote(parent)
        )
        span = self._tracer.start_span(
            name,
            context=trace.set_span_in_context(above),
            kind=_KINDS[kind],
            attributes=attributes,
            links=[trace.Link(_remote(one)) for one in links],
        )
        assert isinstance(span, SdkSpan)  # noqa: S101 - everything is sampled
        return OtlpSpan(span, parent.state if parent is not None else "")

    async def close(self) -> None:
        """Send what waits, for a short time."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop is closed: nobody waited for so long
                loop.call_soon_threadsafe(done.set)

        # A thread of its own: the loop's pool would keep the process until the last one ends.
        threading.Thread(target=shut_down, name="spans-close", daemon=True).start()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await done.wait()
        except TimeoutError:
            log.warning("The collector did not take the last spans in time")
            self._exporter.shutdown()  # or its thread would try again and again


def takes_spans(*, within_s: float) -> bool:
    """Whether the collector takes an export, of no spans. Blocks."""
    _silence()
    try:
        exporter = OTLPSpanExporter(timeout=within_s)
        return exporter.export([]) is SpanExportResult.SUCCESS
    except (ValueError, OSError):
        return False


def _silence() -> None:
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)


def _remote(context: TraceContext) -> trace.SpanContext:
    return trace.SpanContext(
        int(context.trace_id, 16),
        int(context.span_id, 16),
        is_remote=True,
        trace_flags=_SAMPLED if context.is_sampled else trace.DEFAULT_TRACE_OPTIONS,
        trace_state=trace.TraceState.from_header([context.state]) if context.state else None,
    )


def _resource(process: str) -> Resource:
    found = Resource.create(
        {
            "service.version": sluice.__version__,
            "service.instance.id": str(uuid.uuid4()),
            "sluice.process": process,
        }
    )
    named = str(found.attributes.get(SERVICE_NAME, ""))
    if named.startswith("unknown_service"):  # the SDK's, where no variable names it
        found = found.merge(Resource({SERVICE_NAME: f"sluice-{process}"}))
    return found
