"""A tracer that keeps its spans, for tests that do no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sluice.core.trace_context import TraceContext
from sluice.core.trace_sampling import Sampling
from sluice.tracing.spans import Kind, Value


@dataclass(slots=True)
class KeptSpan:
    """One span, as ``sluice.tracing.spans.Span``."""

    name: str
    kind: Kind
    context: TraceContext
    parent: TraceContext | None
    links: Sequence[TraceContext]
    attributes: dict[str, Value]
    ends: int = 0

    def set(self, name: str, value: Value) -> None:
        assert not self.ends
        self.attributes[name] = value

    def fail(self, error_type: str) -> None:
        self.set("error.type", error_type)

    def end(self) -> None:
        self.ends += 1


@dataclass(slots=True)
class KeptSpans:
    """``sluice.tracing.spans.Tracer`` over a list."""

    sampling: Sampling = field(default_factory=Sampling)
    spans: list[KeptSpan] = field(default_factory=list)

    def start(
        self,
        name: str,
        *,
        kind: Kind,
        attributes: Mapping[str, Value],
        parent: TraceContext | None = None,
        trace_id: int = 0,
        links: Sequence[TraceContext] = (),
    ) -> KeptSpan:
        number = len(self.spans) + 1
        context = TraceContext(
            trace_id=parent.trace_id if parent else f"{trace_id or number:032x}",
            span_id=f"{number:016x}",
            is_sampled=True,
            state=parent.state if parent else "",
        )
        span = KeptSpan(name, kind, context, parent, links, dict(attributes))
        self.spans.append(span)
        return span

    def named(self, name: str) -> list[KeptSpan]:
        """Return the spans of that name."""
        return [span for span in self.spans if span.name == name]
