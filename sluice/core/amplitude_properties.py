"""The ``amplitude.*`` properties of a tenant: what each takes (docs/amplitude.md)."""

import re
from typing import Final

from sluice.core.amplitude import (
    REGIONS,
    RESERVED_STARTS,
    REVENUE,
    split_pair,
)
from sluice.core.event import IDENTIFY, MAX_EVENT_TYPE_CHARS, MAX_USER_ID_CHARS
from sluice.core.property import Property

MAX_TYPES: Final = 200
"""Patterns or pairs of event types; what they say of one is looked up once."""
MAX_TEXT_CHARS: Final = 1024
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]").search
"""What would not stay on its line in the list of tenants."""


def _is_key(text: str) -> bool:
    return len(text) <= 200 and text.isascii() and text.isprintable() and " " not in text


def _is_pattern(text: str) -> bool:
    return 1 <= len(text) <= MAX_EVENT_TYPE_CHARS and not _CONTROL(text)


def _is_member(text: str) -> bool:
    return 1 <= len(text) <= MAX_TEXT_CHARS and not _CONTROL(text)


def _is_rename(text: str) -> bool:
    event_type, name = split_pair(text)
    is_plain = not name.startswith(RESERVED_STARTS) and event_type != IDENTIFY
    return is_plain and _is_pattern(event_type) and _is_pattern(name)


def _is_revenue(text: str) -> bool:
    event_type, member = split_pair(text)
    is_own = _is_pattern(event_type) and event_type != IDENTIFY
    return is_own and _is_member(member.removeprefix("-"))


def _is_added(text: str) -> bool:
    name, value = split_pair(text)
    return "=" in text and _is_member(name) and (not value or _is_member(value))


AMPLITUDE: Final = {
    one.name.removeprefix("amplitude."): one
    for one in (
        Property(
            "amplitude.api_key",
            "secret",
            "Of the Amplitude project; events are forwarded while there is one.",
            "at most 200 visible characters",
            _is_key,
            default="",
        ),
        Property(
            "amplitude.secret_key",
            "secret",
            "Of the Amplitude project; for what is read back or deleted there.",
            "at most 200 visible characters",
            _is_key,
            default="",
        ),
        Property(
            "amplitude.region",
            "choice",
            "Where the project's data is kept.",
            choices=REGIONS,
            default="us",
        ),
        Property(
            "amplitude.min_id_length",
            "number",
            "Shortest `user_id` that Amplitude takes; its own default is 5.",
            low=1,
            high=MAX_USER_ID_CHARS,
            default=1,
        ),
        Property(
            "amplitude.event_types",
            "texts",
            "Event types that are forwarded; empty: all.",
            "an event type with or without *, such as order_*",
            _is_pattern,
            most=MAX_TYPES,
            default=(),
        ),
        Property(
            "amplitude.drop",
            "texts",
            "Event types that are not forwarded, also when `amplitude.event_types` names them.",
            "an event type with or without *, such as debug_*",
            _is_pattern,
            most=MAX_TYPES,
            default=(),
        ),
        Property(
            "amplitude.sample_percent",
            "number",
            "How many of a hundred users are forwarded, each with all events.",
            low=0,
            high=100,
            default=100,
        ),
        Property(
            "amplitude.rename",
            "texts",
            "What event types are called at Amplitude.",
            "an event type, = and its name at Amplitude, which starts with neither $ nor"
            " [Amplitude]; not context_identified",
            _is_rename,
            most=MAX_TYPES,
            default=(),
        ),
        Property(
            "amplitude.revenue",
            "texts",
            "Which event types are revenue, and which member of their payload is the amount.",
            "an event type, = and the amount's member, with - before it when the money is given"
            " back",
            _is_revenue,
            most=MAX_TYPES,
            default=REVENUE,
        ),
        Property(
            "amplitude.drop_properties",
            "texts",
            "Members of payloads that never leave.",
            "the name of a member of the payload",
            _is_member,
            default=(),
        ),
        Property(
            "amplitude.properties",
            "texts",
            "Added to every event's properties, unless the event has its own of that name.",
            "a name, = and a text of at most 1024 characters",
            _is_added,
            default=(),
        ),
    )
}
"""By name without the prefix, as in the table ``[tenants.SLUG.amplitude]``."""
