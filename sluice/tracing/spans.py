"""Spans as the rest of Sluice sees them: nothing here knows OpenTelemetry's packages.

What is in hand is kept in a context variable: a span of ours, the context of somebody else's that
is only passed on, or nothing. Tasks and threads that are started meanwhile inherit it. Calls to
other systems (``calling``) become its children and carry it on; with nothing in hand they cost the
look at the variable.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Literal, Protocol

from sluice.core.trace_context import TraceContext
from sluice.core.trace_sampling import Sampling

Kind = Literal["server", "client", "producer", "consumer", "internal"]
Value = str | int | float | bool


class Span(Protocol):
    """One span that is being recorded."""

    @property
    def context(self) -> TraceContext:
        """What children and links refer to."""

    def set(self, name: str, value: Value) -> None:
        """Set an attribute. Never a payload, a key or a user's id."""

    def fail(self, error_type: str) -> None:
        """Say that it failed, in one word: ``error.type``."""

    def end(self) -> None:
        """Hand it to the exporter, which never waits."""


class Tracer(Protocol):
    """Makes spans; each is one that is recorded."""

    @property
    def sampling(self) -> Sampling:
        """Which requests leave spans."""

    def start(
        self,
        name: str,
        *,
        kind: Kind,
        attributes: Mapping[str, Value],
        parent: TraceContext | None = None,
        trace_id: int = 0,
        links: Sequence[TraceContext] = (),
    ) -> Span:
        """Start a span now.

        Args:
            name: What is done, of few kinds.
            kind: Which side of a call it is.
            attributes: Known from the beginning.
            parent: Whose child it is; None: a trace begins.
            trace_id: Of the trace that begins; 0: a random one.
            links: Other spans that it has to do with.
        """


class Call:
    """A call to another system: the headers that carry the trace on, and its span if any."""

    __slots__ = ("_span", "headers")

    def __init__(self, headers: Mapping[str, str], span: Span | None) -> None:
        self.headers = headers
        """``traceparent`` and ``tracestate``; empty where nothing is traced."""
        self._span = span

    def set(self, name: str, value: Value) -> None:
        """Set an attribute of its span."""
        if self._span is not None:
            self._span.set(name, value)

    def fail(self, error_type: str) -> None:
        """Say of its span that the call failed."""
        if self._span is not None:
            self._span.fail(error_type)


UNTRACED: Final = Call({}, None)

_in_hand: ContextVar[tuple[Tracer, Span] | TraceContext | None] = ContextVar(
    "trace_in_hand", default=None
)


@contextmanager
def in_hand(what: tuple[Tracer, Span] | TraceContext) -> Iterator[None]:
    """Have calls inside the block belong to a span, or carry a context on as it came."""
    token = _in_hand.set(what)
    try:
        yield
    finally:
        _in_hand.reset(token)


@contextmanager
def calling(name: str, attributes: Mapping[str, Value]) -> Iterator[Call]:
    """Wrap one call to another system; what the block raises fails its span.

    Args:
        name: Of the span.
        attributes: Of the span; by OpenTelemetry's semantic conventions.
    """
    what = _in_hand.get()
    if what is None:
        yield UNTRACED
        return
    if isinstance(what, TraceContext):
        yield Call(what.headers, None)
        return
    tracer, parent = what
    span = tracer.start(name, kind="client", attributes=attributes, parent=parent.context)
    try:
        yield Call(span.context.headers, span)
    except BaseException as error:
        span.fail(type(error).__name__)
        raise
    finally:
        span.end()
