"""What the warehouse destination must know of the rows in an envelope, without touching the rest.

Rows go to ClickHouse as they came; here only the fields are read that decide about copies, hours
and user traits. A row that cannot even be read for that is poison, with its reason.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from sluice.core.envelope import split
from sluice.core.event import DERIVED, IDENTIFY, versions_of
from worker.core.accepted import Place, Share, share_of

HOUR_CHARS: Final = 13
"""Length of ``YYYY-MM-DDTHH``."""
SLOT_CHARS: Final = 18
"""Length of ``YYYY-MM-DDTHH:MM:S``: ten seconds, the smallest span that is counted by itself."""
SECOND_CHARS: Final = 19
TIME_CHARS: Final = 26
"""Length of ``YYYY-MM-DDTHH:MM:SS.ffffff``."""
UUID_CHARS: Final = 36


class Key(msgspec.Struct, frozen=True, gc=False):
    """The fields of an event that say which event it is and when it was accepted."""

    tenant: str
    event_id: str
    event_type: str
    received_at: str


class Identified(msgspec.Struct, frozen=True, gc=False):
    """The fields of a ``context_identified`` event that make user traits."""

    tenant: str
    event_id: str
    user_id: str
    occurred_at: str
    received_at: str
    payload: msgspec.Raw


class Trait(msgspec.Struct, frozen=True, gc=False):
    """A row of ``user_traits``."""

    tenant: str
    user_id: str
    is_trait: int
    trait: str
    latest: tuple[str, str, str, str]
    """Effective time, received_at, event_id, and the JSON text of the value."""
    first_at: str
    last_at: str


class Poison(msgspec.Struct, frozen=True):
    """A row that no destination can take, and why."""

    index: int
    reason: str


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be known of the events of one envelope."""

    named: list[Key]
    """The keys of events that a client named, in order."""
    positions: Sequence[int]
    """Where each of them stands in the envelope."""
    hours: frozenset[tuple[str, str]]
    """Tenant and hour (``YYYY-MM-DDTHH``) of every row that can be read."""
    slots: frozenset[tuple[str, str]] = frozenset()
    """The same to ten seconds (``YYYY-MM-DDTHH:MM:S``)."""
    identified: Sequence[int]
    """Positions of the events that carry user traits."""
    poison: Sequence[Poison]
    accepted: Sequence[Share] = ()
    """What it adds to the ledger: of every row whose tenant and time can be read."""
    received_from: str = ""
    """``received_at`` of the first or the last row, whichever is earlier; empty without rows."""


_KEY: Final = msgspec.json.Decoder(Key)
_IDENTIFIED: Final = msgspec.json.Decoder(Identified)
_TRAITS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT: Final = msgspec.json.Decoder(str)
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError)


def read_facts(data: bytes) -> Facts:
    """Return what is to be known of the rows of one envelope. About 0.7 µs a row."""
    try:
        keys = _KEY.decode_lines(data)
    except _UNREADABLE:
        return _facts_of(*_one_by_one(data))
    return _facts_of(range(len(keys)), keys, [])


def _facts_of(
    positions: Sequence[int],
    keys: list[Key],
    poison: list[Poison],
    nameless: Sequence[Key] = (),
) -> Facts:
    # Column by column: what is done once for a batch costs nothing an event.
    ids = [key.event_id for key in keys]
    tenants = {key.tenant for key in keys}
    moments = {key.received_at for key in keys}
    if len(tenants) == 1:
        [tenant] = tenants
        seconds = {(tenant, moment[:SECOND_CHARS]) for moment in moments}
    else:
        seconds = {(key.tenant, key.received_at[:SECOND_CHARS]) for key in keys}
    # ClickHouse's fast reading of times takes 10:99 for 11:39, so that they are checked here; whole
    # seconds, because a batch has few of them.
    bad_seconds = {second for _, second in seconds if not _is_second(second)}
    is_malformed = set(map(len, ids)) - {UUID_CHARS} or set(map(len, moments)) - {TIME_CHARS}
    if bad_seconds or is_malformed:
        return _without_malformed(positions, keys, poison, bad_seconds)
    versions = versions_of(ids)
    named, named_at = keys, positions
    if (count := versions.count(DERIVED)) < len(keys):
        marked = zip(versions, positions, keys, strict=True) if count else ()
        found = [(at, key) for version, at, key in marked if version == DERIVED]
        named, named_at = [key for _, key in found], [at for at, _ in found]
    hours = frozenset((tenant, second[:HOUR_CHARS]) for tenant, second in seconds)
    types = [key.event_type for key in keys]
    return Facts(
        named=named,
        positions=named_at,
        hours=hours,
        slots=frozenset((tenant, second[:SLOT_CHARS]) for tenant, second in seconds),
        identified=[
            at for at, event_type in zip(positions, types, strict=True) if event_type == IDENTIFY
        ]
        if IDENTIFY in types
        else (),
        poison=poison,
        accepted=_shares(keys, named, hours) if not nameless else _shares([*keys, *nameless]),
        received_from=min(keys[0].received_at, keys[-1].received_at) if keys else "",
    )


def _shares(
    keys: Sequence[Key], named: Sequence[Key] | None = None, hours: Collection[Place] = ()
) -> list[Share]:
    if len(hours) == 1:  # as nearly always
        [place] = hours
        return [share_of(place, keys, named)]
    places: defaultdict[Place, list[Key]] = defaultdict(list)
    for key in keys:
        places[key.tenant, key.received_at[:HOUR_CHARS]].append(key)
    return [share_of(place, found) for place, found in places.items()]


def _without_malformed(
    positions: Sequence[int], keys: list[Key], poison: list[Poison], bad_seconds: set[str]
) -> Facts:
    good: list[tuple[int, Key]] = []
    nameless: list[Key] = []
    for position, key in zip(positions, keys, strict=True):
        is_time = len(key.received_at) == TIME_CHARS
        if not is_time or key.received_at[:SECOND_CHARS] in bad_seconds:
            poison.append(Poison(position, "received_at is not a time"))
        elif len(key.event_id) != UUID_CHARS:
            poison.append(Poison(position, "event_id is not a UUID"))
            nameless.append(key)
        else:
            good.append((position, key))
    positions, keys = [position for position, _ in good], [key for _, key in good]
    return _facts_of(positions, keys, poison, nameless)


def _one_by_one(data: bytes) -> tuple[list[int], list[Key], list[Poison]]:
    positions: list[int] = []
    keys: list[Key] = []
    poison: list[Poison] = []
    for index, row in enumerate(split(data)):
        try:
            keys.append(_KEY.decode(row))
            positions.append(index)
        except _UNREADABLE as error:
            poison.append(Poison(index, f"not an event: {error}"))
    return positions, keys, poison


def _is_second(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%S")  # noqa: DTZ007 - only the shape counts
    except ValueError:
        return False
    return True


def is_well_formed(key: Key) -> bool:
    """Whether ClickHouse can read the key's id and time."""
    try:
        UUID(key.event_id)
        datetime.fromisoformat(key.received_at)
    except ValueError:
        return False
    return True


def keep(data: bytes, dropped: Collection[int]) -> bytes:
    """Return the rows without those at the dropped positions."""
    rows = [row for index, row in enumerate(split(data)) if index not in dropped]
    return b"\n".join([*rows, b""]) if rows else b""


def without(facts: Facts, positions: Collection[int]) -> Facts:
    """Return what is to be known of the other rows; to touch an hour too many is safe."""
    kept = [
        (place, key)
        for place, key in zip(facts.positions, facts.named, strict=False)
        if place not in positions
    ]
    return Facts(
        named=[key for _, key in kept],
        positions=[place for place, _ in kept],
        hours=facts.hours,
        slots=facts.slots,
        identified=[place for place in facts.identified if place not in positions],
        poison=[one for one in facts.poison if one.index not in positions],
        accepted=facts.accepted,
        received_from=facts.received_from,
    )


def traits_of(row: bytes) -> list[Trait]:
    """Return what a ``context_identified`` event says of its user; nothing if it says nothing.

    The first row marks the event itself. A trait's value is kept as its JSON text; null is a value
    here, which the view takes for removal.
    """
    try:
        event = _IDENTIFIED.decode(row)
        payload = bytes(event.payload)
        if payload.startswith(b'"'):
            # A payload with a line feed in it travels as a JSON string.
            payload = _TEXT.decode(payload).encode()
        members = {name: bytes(value).decode() for name, value in _TRAITS.decode(payload).items()}
    except _UNREADABLE:
        return []
    at = min(_nanoseconds(event.occurred_at), _nanoseconds(event.received_at))
    named = [(0, "", ""), *((1, name, value) for name, value in members.items())]
    return [
        Trait(
            tenant=event.tenant,
            user_id=event.user_id,
            is_trait=is_trait,
            trait=name,
            latest=(at, event.received_at, event.event_id, value),
            first_at=at,
            last_at=at,
        )
        for is_trait, name, value in named
    ]


def _nanoseconds(text: str) -> str:
    """Return a time with nine digits of fraction, so that text order is time order."""
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction:0<9}"
