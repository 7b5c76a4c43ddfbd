"""Which events are good: one upload in, either its checked events out or the answer that refuses.

The order of checks is the order of the documentation's error table; an answer names the events of
one kind of error, by field. HTTP V2 names only the first bad index of a field, Batch names all.
Nothing here knows of keys, quotas or what was stored before.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import orjson

from tests.simulators.amplitude.answers import (
    INVALID_EVENT,
    INVALID_FIELDS,
    INVALID_LENGTH,
    MISSING_FIELD,
    TOO_LARGE,
    Answer,
    Indexes,
    refused,
)
from tests.simulators.amplitude.wire import ABSENT, MAX_CHARS, MIN_ID_LENGTH, Event, Loose, Upload

MAX_EVENTS: Final = 2000
MAX_DEPTH: Final = 40
IDENTIFY: Final = "$identify"
GROUP_IDENTIFY: Final = "$groupidentify"

REFUSED_IDS: Final = frozenset(
    {
        "anonymous", "nil", "none", "null", "n/a", "na", "undefined", "unknown", "", '""',
        "00000000-0000-0000-0000-000000000000", "{}", "lmy47d", "0", "-1",
    }
)  # fmt: skip
LONGEST_REFUSED: Final = 64
"""Beyond this many characters an id is on no list, whatever its blanks."""

RESERVED_TYPES: Final = frozenset(
    f"[Amplitude] {name}"
    for name in (
        "Start Session", "End Session", "Revenue", "Revenue (Verified)", "Revenue (Unverified)",
        "Merged User",
    )
)  # fmt: skip

OPERATIONS: Final = frozenset(
    {
        "$set", "$setOnce", "$add", "$append", "$prepend", "$unset", "$preInsert", "$postInsert",
        "$remove", "$clearAll",
    }
)  # fmt: skip

IDS: Final = ("user_id", "device_id")
OBJECTS: Final = ("event_properties", "user_properties", "groups", "group_properties")
STRINGS: Final = (
    "productId", "revenueType", "user_agent", "app_version", "platform", "os_name", "os_version",
    "device_brand", "device_manufacturer", "device_model", "carrier", "country", "region", "city",
    "dma", "language", "ip", "idfa", "idfv", "adid", "android_id", "android_app_set_id", "library",
    "partner_id",
)  # fmt: skip
CURRENCY: Final = re.compile("[A-Z]{3}")


@dataclass(frozen=True, slots=True)
class Checked:
    """The events of a good upload, each with its event properties as JSON text."""

    events: Sequence[Event]
    properties: Sequence[bytes]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.events)


def examine(
    upload: Upload | Loose, reread: Callable[[], Loose], *, is_batch: bool, all_indexes: bool
) -> Checked | Answer:
    """Return the events of an upload, or what refuses it.

    Args:
        upload: As decoded.
        reread: Gives the same request untyped; called only when something is wrong with it.
        is_batch: The rules of ``/batch`` hold: a short id is dropped where the other id is good.
        all_indexes: HTTP V2 names every bad event, too.

    Raises:
        NotAnObjectError: A value that only a closer look reads is no JSON.
    """
    if isinstance(upload, Upload):
        if len(upload.events) > MAX_EVENTS:
            return refused(413, TOO_LARGE)
        with suppress(orjson.JSONDecodeError):  # a number beyond all floats inside properties
            checked = _clean(upload)
            if checked is not None:
                return checked
        upload = reread()
    return _examine_slowly(upload.members, is_batch=is_batch, names_all=is_batch or all_indexes)


def is_refused_id(value: str) -> bool:
    """Say whether an id is on Amplitude's list; case and blanks around it do not matter here."""
    return len(value) <= LONGEST_REFUSED and value.strip().lower() in REFUSED_IDS


def is_too_deep(value: object) -> bool:
    """Say whether objects and arrays nest deeper than 40 levels, the value itself included."""
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for one in level:
            if isinstance(one, dict):
                below.extend(one.values())
            elif isinstance(one, list):
                below.extend(one)
        level = below
    return any(isinstance(one, dict | list) for one in level)


def are_bad_user_properties(properties: Mapping[str, Any], event_type: str) -> bool:
    """Say whether operations are mixed with plain keys, or stand where they may not."""
    operations = OPERATIONS.intersection(properties)
    if not operations:
        return False
    if event_type != IDENTIFY or len(operations) != len(properties):
        return True
    return any(
        name != "$clearAll" and not isinstance(properties[name], dict) for name in operations
    )


def _clean(upload: Upload) -> Checked | None:
    """Return the events when all are good: what can be seen without reading each value again."""
    shortest = upload.min_id_length
    events = upload.events
    ids: set[str | None] = {event.user_id for event in events}
    is_user_missing = None in ids
    ids.update({event.device_id for event in events})
    ids.discard(None)
    for one in ids:
        if one is not None and (len(one) < shortest or is_refused_id(one)):
            return None
    if is_user_missing and any(e.user_id is None and e.device_id is None for e in events):
        return None
    texts = []
    for event in events:
        text = bytes(event.event_properties)
        if len(text) > MAX_CHARS or text.count(b"{") + text.count(b"[") > MAX_DEPTH:
            properties = orjson.loads(text)
            if is_too_deep(properties):
                return None
            text = orjson.dumps(cut(properties))
        if text[:1] not in (b"{", b"") and text != b"null":
            return None
        if not _are_good_objects(event):
            return None
        texts.append(text)
    return Checked(events, texts)


def _are_good_objects(event: Event) -> bool:
    for text in (event.groups, event.group_properties):
        if text is not ABSENT and not _is_object(text):
            return False
    if event.user_properties is ABSENT:
        return True
    properties = read_object(event.user_properties)
    return (
        properties is not None
        and not is_too_deep(properties)
        and not are_bad_user_properties(properties, event.event_type)
    )


def _is_object(text: msgspec.Raw) -> bool:
    value = read_object(text)
    return value is not None and not is_too_deep(value)


def read_object(text: msgspec.Raw) -> dict[str, Any] | None:
    """Return the object of a JSON text, empty for none and ``null``; None for anything else."""
    raw = bytes(text)
    value = orjson.loads(raw) if raw else {}
    if value is None:
        return {}
    return value if isinstance(value, dict) else None


def cut(value: Any) -> Any:
    """Return a value with each string cut to what Amplitude keeps."""
    if isinstance(value, str):
        return value[:MAX_CHARS]
    if isinstance(value, list):
        return [cut(one) for one in value]
    if isinstance(value, dict):
        return {name: cut(one) for name, one in value.items()}
    return value


def _examine_slowly(
    members: Mapping[str, Any], *, is_batch: bool, names_all: bool
) -> Checked | Answer:
    events: Any = members.get("events")
    shortest = _min_id_length(members.get("options"))
    if problem := _shape_problem(events, shortest):
        return problem

    def named(find: Callable[[dict[str, Any]], Iterator[str]]) -> Indexes:
        found: dict[str, list[int]] = defaultdict(list)
        for index, event in enumerate(events):
            for name in find(event):
                if names_all or not found[name]:
                    found[name].append(index)
        return dict(found)

    if missing := named(_missing):
        return refused(400, MISSING_FIELD, events_with_missing_fields=missing)
    if invalid := named(_invalid):
        return refused(400, INVALID_FIELDS, events_with_invalid_fields=invalid)
    if short := named(lambda event: _short(event, shortest, is_batch=is_batch)):
        return refused(400, INVALID_LENGTH, events_with_invalid_id_lengths=short)
    kept = [_as_event(event, shortest) for event in events]
    return Checked(kept, [bytes(event.event_properties) for event in kept])


def _shape_problem(events: object, shortest: int) -> Answer | None:
    """Return what refuses a request before any event of it is looked at."""
    if events is None or events == []:
        return refused(400, MISSING_FIELD, missing_field="events")
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        return refused(400, INVALID_EVENT)
    if len(events) > MAX_EVENTS:
        return refused(413, TOO_LARGE)
    return refused(400, INVALID_FIELDS) if shortest < 1 else None


def _min_id_length(options: object) -> int:
    """Return how short an id may be; 0 when that is not said as it must be."""
    if options is None:
        return MIN_ID_LENGTH
    given = options.get("min_id_length", MIN_ID_LENGTH) if isinstance(options, dict) else 0
    if given is None:
        return MIN_ID_LENGTH
    return given if isinstance(given, int) and _is_integer(given) else 0


def _missing(event: Mapping[str, Any]) -> Iterator[str]:
    if event.get("event_type") in (None, ""):
        yield "event_type"
    if all(event.get(name) is None for name in IDS):
        yield "user_id"


def _invalid(event: Mapping[str, Any]) -> Iterator[str]:
    for name, is_good in CHECKS.items():
        value = event.get(name)
        if value is not None and not is_good(value):
            yield name
    properties = event.get("user_properties")
    if isinstance(properties, dict) and are_bad_user_properties(properties, event["event_type"]):
        yield "user_properties"


def _short(event: Mapping[str, Any], shortest: int, *, is_batch: bool) -> Iterator[str]:
    given = [name for name in IDS if event.get(name) is not None]
    short = [name for name in given if len(event[name]) < shortest]
    if not is_batch or len(short) == len(given):
        yield from short


def _as_event(event: Mapping[str, Any], shortest: int) -> Event:
    """Return a good event as its type, strings cut and ids that are too short left out."""
    known: dict[str, Any] = {}
    for field, name in FIELDS.items():
        value = event.get(name)
        if value is None or (name in IDS and len(value) < shortest):
            continue
        known[field] = msgspec.Raw(orjson.dumps(cut(value))) if name in OBJECTS else cut(value)
    return Event(**known)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value < 2**63


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_id(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_CHARS and not is_refused_id(value)


def _is_key(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_CHARS


def _is_tree(value: object) -> bool:
    return isinstance(value, dict) and not is_too_deep(value)


def _is_string(value: object) -> bool:
    return isinstance(value, str)


def _is_currency(value: object) -> bool:
    return isinstance(value, str) and CURRENCY.fullmatch(value) is not None


CHECKS: Final[Mapping[str, Callable[[object], bool]]] = {
    "event_type": _is_key,
    **dict.fromkeys(IDS, _is_id),
    "insert_id": _is_key,
    **dict.fromkeys(("time", "session_id", "event_id", "quantity"), _is_integer),
    **dict.fromkeys(("price", "revenue", "location_lat", "location_lng"), _is_number),
    **dict.fromkeys(OBJECTS, _is_tree),
    **dict.fromkeys(STRINGS, _is_string),
    "currency": _is_currency,
    "$skip_user_properties_sync": lambda value: isinstance(value, bool),
    **dict.fromkeys(("plan", "ingestion_metadata"), lambda value: isinstance(value, dict)),
}
"""What a value must be where it is given; ``null`` is the same as absent."""

FIELDS: Final = dict(zip(Event.__struct_fields__, Event.__struct_encode_fields__, strict=True))
