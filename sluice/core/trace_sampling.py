"""Which requests leave spans: the samplers that OpenTelemetry's variables name.

Decided here and not in its SDK, so that a request that leaves none costs a random number. A ratio
is judged by the trace's id as the SDK does it (``TraceIdRatioBased``): whoever else samples a trace
at the same ratio decides the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from sluice.core.trace_context import TraceContext

DEFAULT_RATIO: Final = 0.01
"""Of the requests without a sampled parent, where no sampler is set; OpenTelemetry's own default
is all of them, which an edge of thousands of requests a second is not for."""
_LOW_BITS: Final = (1 << 64) - 1


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """When a span is recorded."""

    ratio: float = DEFAULT_RATIO
    """Of traces that begin here, or of all where parents do not count; from 0 to 1."""
    follows_parent: bool = True
    """Whether what a parent says decides."""

    def takes(self, parent: TraceContext | None, trace_id: int) -> bool:
        """Whether a span of this parent, and of this trace's id, is recorded."""
        if parent is not None:
            if self.follows_parent:
                return parent.is_sampled
            trace_id = int(parent.trace_id, 16)
        return (trace_id & _LOW_BITS) < self._bound

    @cached_property
    def _bound(self) -> int:
        return round(self.ratio * (1 << 64))


_SAMPLERS: Final[Mapping[str, Sampling]] = {
    "always_on": Sampling(ratio=1.0, follows_parent=False),
    "always_off": Sampling(ratio=0.0, follows_parent=False),
    "traceidratio": Sampling(ratio=1.0, follows_parent=False),
    "parentbased_always_on": Sampling(ratio=1.0),
    "parentbased_always_off": Sampling(ratio=0.0),
    "parentbased_traceidratio": Sampling(ratio=1.0),
}
"""By the names of ``OTEL_TRACES_SAMPLER``, with the ratio of one that is given none."""


def sampling_of(name: str, argument: str) -> Sampling | str:
    """Return the sampling that variables name, or one sentence that says what is wrong with them.

    Args:
        name: ``OTEL_TRACES_SAMPLER``; empty: parent-based, at ``DEFAULT_RATIO``.
        argument: ``OTEL_TRACES_SAMPLER_ARG``: a ratio from 0 to 1.
    """
    name = name.strip().lower()
    if name and name not in _SAMPLERS:
        return f"OTEL_TRACES_SAMPLER is {name!r}: use one of {', '.join(_SAMPLERS)}."
    known = _SAMPLERS.get(name, Sampling())
    if not argument.strip() or (name and not name.endswith("traceidratio")):
        return known
    try:
        ratio = float(argument)
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        return f"OTEL_TRACES_SAMPLER_ARG is {argument!r}: use a ratio from 0 to 1."
    return Sampling(ratio=ratio, follows_parent=known.follows_parent)
