"""W3C Trace Context: from headers to a value, to headers, and through the queue.

Reads what W3C "Trace Context" (Recommendation of 23 November 2021) says, and refuses nothing: a
malformed ``traceparent`` counts as none, a malformed ``tracestate`` as an empty one.

Through the queue travel contexts of sampled requests only, as text: one a line, ``traceparent``
and, behind a space, its ``tracestate`` where there is one. Neither can hold a line feed.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

MAX_STATE_BYTES: Final = 512
"""A longer ``tracestate`` counts as none (3.3.1.5: at least 512 should be carried)."""
MAX_STATE_MEMBERS: Final = 32
MAX_CARRIED: Final = 32
"""Contexts in one envelope; an envelope of more sampled requests carries the first."""
MAX_CARRIED_BYTES: Final = 4_096
"""The text of all contexts in one envelope; past it they go without their ``tracestate``."""

SAMPLED: Final = 0x01

_PARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_KEY: Final = r"[a-z0-9][a-z0-9_*/-]{0,240}(?:@[a-z][a-z0-9_*/-]{0,13})?|[a-z][a-z0-9_*/-]{0,255}"
_VALUE: Final = r"[ !-+\--<>-~]{0,255}[!-+\--<>-~]"
_MEMBER: Final = re.compile(rf"({_KEY})=({_VALUE})")


class TraceContext(msgspec.Struct, frozen=True, kw_only=True):
    """Which span something belongs to."""

    trace_id: str
    """32 hexadecimal digits, lower case, not all zero."""
    span_id: str
    """16 of them, not all zero."""
    is_sampled: bool
    state: str = ""
    """``tracestate``: what tracing systems keep for themselves; one header's text."""

    @property
    def traceparent(self) -> str:
        """The header's value, in version 00."""
        return f"00-{self.trace_id}-{self.span_id}-{self.is_sampled:02x}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers that carry it on."""
        if not self.state:
            return {"traceparent": self.traceparent}
        return {"traceparent": self.traceparent, "tracestate": self.state}


def parse_context(parents: Sequence[str], states: Sequence[str] = ()) -> TraceContext | None:
    """Return the context that a request came with; None for none or a malformed one.

    Args:
        parents: The values of all ``traceparent`` headers; more than one make none (3.2).
        states: The values of all ``tracestate`` headers, in order (3.3).
    """
    if len(parents) != 1:
        return None
    found = _PARENT.fullmatch(parents[0])
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "00" and more is not None:
        return None  # only a later version may have more
    return TraceContext(
        trace_id=trace_id,
        span_id=span_id,
        is_sampled=bool(int(flags, 16) & SAMPLED),
        state=_parse_state(states) if states else "",
    )


def _parse_state(values: Sequence[str]) -> str:
    """Return the members, joined; empty where one is malformed or a bound is passed."""
    members: list[str] = []
    keys: set[str] = set()
    for member in ",".join(values).split(","):
        text = member.strip(" \t")
        if not text:
            continue  # empty members are allowed (3.3.1.1)
        found = _MEMBER.fullmatch(text)
        if found is None or found[1] in keys:
            return ""
        keys.add(found[1])
        members.append(text)
    state = ",".join(members)
    if len(members) > MAX_STATE_MEMBERS or len(state) > MAX_STATE_BYTES:
        return ""
    return state


def carried_text(context: TraceContext) -> str:
    """Return how one context travels through the queue."""
    return f"{context.traceparent} {context.state}" if context.state else context.traceparent


def pack_contexts(texts: Sequence[str]) -> str:
    """Return what an envelope carries of these contexts (``carried_text``), each once, bounded."""
    kept = list(dict.fromkeys(texts))[:MAX_CARRIED]
    packed = "\n".join(kept)
    if len(packed) <= MAX_CARRIED_BYTES:
        return packed
    return "\n".join(text.partition(" ")[0] for text in kept)


def unpack_contexts(packed: str) -> list[TraceContext]:
    """Return the contexts that an envelope carries, without what is malformed or past a bound."""
    if not packed or len(packed) > MAX_CARRIED_BYTES:
        return []
    contexts: list[TraceContext] = []
    for line in packed.split("\n")[:MAX_CARRIED]:
        parent, _, state = line.partition(" ")
        context = parse_context((parent,), (state,) if state else ())
        if context is not None and context.is_sampled:
            contexts.append(context)
    return contexts
