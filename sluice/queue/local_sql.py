"""What the local queue does inside one transaction: each operation of the protocol in SQL.

Plain functions over a connection that is inside ``BEGIN IMMEDIATE`` (those that change something)
or not (those that only read). A function that refuses does so before it has changed anything, so
one refusal never undoes what its neighbours in the same transaction did.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, cast

import orjson

from sluice.core.envelope import Envelope, Kind, OldKind
from sluice.queue.local_schema import MESSAGE_OVERHEAD_BYTES
from sluice.queue.protocol import Backlog, Delivery

MAX_LEASE_S: Final = 600.0
"""No lease is longer (Pub/Sub's own bound). One that says otherwise was written before somebody
set the clock back, and counts as expired."""
MAX_ATTEMPTS: Final = 100
"""Deliveries that end without an acknowledgement before an envelope is put aside: far more than any
outage makes, because a consumer gives back what it could not deliver."""

_PUBLISH: Final = """
INSERT INTO messages
  (message_id, topic, envelope_id, kind, events, raw_bytes, stored_bytes, published_at, body,
   traces)
SELECT last_id + 1, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM counters WHERE stored_bytes + ? <= ?
"""
_FIND_DELIVERABLE: Final = """
SELECT message_id, attempt, raw_bytes FROM deliveries
  WHERE subscription = :subscription AND lease_until = 0
UNION ALL
SELECT message_id, attempt, raw_bytes FROM deliveries
  WHERE subscription = :subscription AND lease_until > 0 AND lease_until <= :now
UNION ALL
SELECT message_id, attempt, raw_bytes FROM deliveries
  WHERE subscription = :subscription AND lease_until > :horizon
ORDER BY message_id LIMIT :max_messages
"""
_HAS_DELIVERABLE: Final = """
SELECT EXISTS (SELECT 1 FROM deliveries WHERE subscription = :subscription AND lease_until <= :now)
  OR EXISTS (SELECT 1 FROM deliveries WHERE subscription = :subscription AND lease_until > :horizon)
"""
_LEASE: Final = """
UPDATE deliveries SET lease_until = ?, lease_id = ?, attempt = attempt + 1
WHERE subscription = ? AND message_id IN (SELECT value FROM json_each(?))
"""
_READ: Final = """
SELECT message_id, envelope_id, kind, events, raw_bytes, published_at, body, traces FROM messages
WHERE message_id IN (SELECT value FROM json_each(?)) ORDER BY message_id
"""
_EXTEND: Final = """
UPDATE deliveries SET lease_until = ?
WHERE subscription = ? AND lease_id = ? AND lease_until > ?
  AND message_id IN (SELECT value FROM json_each(?))
RETURNING message_id
"""
_ACK: Final = """
DELETE FROM deliveries
WHERE subscription = ? AND lease_id = ? AND message_id IN (SELECT value FROM json_each(?))
"""
_RELEASE: Final = """
UPDATE deliveries SET lease_until = 0, lease_id = '', attempt = max(attempt - 1, 0)
WHERE subscription = ? AND lease_id = ? AND message_id IN (SELECT value FROM json_each(?))
"""
_PUT_ASIDE: Final = """
INSERT INTO dead (message_id, subscription, attempt, reason, died_at)
SELECT message_id, subscription, attempt, ?, ? FROM deliveries
WHERE subscription = ? AND lease_id = ? AND message_id IN (SELECT value FROM json_each(?))
"""
_PUT_ASIDE_WORN_OUT: Final = """
INSERT INTO dead (message_id, subscription, attempt, reason, died_at)
SELECT message_id, subscription, attempt, ?, ? FROM deliveries
WHERE subscription = ? AND message_id IN (SELECT value FROM json_each(?))
"""
_REMOVE_WORN_OUT: Final = """
DELETE FROM deliveries
WHERE subscription = ? AND message_id IN (SELECT value FROM json_each(?))
"""
_BACKLOG: Final = """
SELECT messages, events, bytes, dead,
  (SELECT count(*) FROM deliveries
    WHERE subscription = :subscription AND lease_until > :now AND lease_until <= :horizon),
  (SELECT published_at FROM messages WHERE message_id = min(
    ifnull((SELECT min(message_id) FROM deliveries
      WHERE subscription = :subscription AND lease_until = 0), 9e18),
    ifnull((SELECT min(message_id) FROM deliveries
      WHERE subscription = :subscription AND lease_until > 0), 9e18)))
FROM subscriptions WHERE subscription = :subscription
"""


@dataclass(frozen=True, slots=True)
class Counters:
    """Sums over the whole file, exact across processes."""

    stored_bytes: int
    freed_bytes: int
    """Ever freed; only grows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """Which messages one pull has leased; their bodies are read after the commit."""

    subscription: str
    lease_id: str
    attempts: dict[int, int]
    """Message id to the attempt that this delivery is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullBounds:
    """What one pull may take."""

    max_messages: int
    max_bytes: int
    lease_s: float


def stored_size(envelopes: Sequence[Envelope]) -> int:
    """Return what envelopes count against the bound."""
    return sum(map(_stored_size, envelopes))


def _stored_size(envelope: Envelope) -> int:
    return len(envelope.body) + len(envelope.traces) + MESSAGE_OVERHEAD_BYTES


def publish(
    connection: sqlite3.Connection,
    topic: str,
    envelopes: Sequence[Envelope],
    *,
    now: float,
    max_bytes: int,
) -> bool:
    """Insert all envelopes, or none and return False where they would pass the bound."""
    needed = stored_size(envelopes)
    for envelope in envelopes:
        cursor = connection.execute(
            _PUBLISH,
            (
                topic,
                envelope.envelope_id,
                envelope.kind,
                envelope.count,
                envelope.raw_bytes,
                _stored_size(envelope),
                now,
                envelope.body,
                envelope.traces,
                needed,
                max_bytes,
            ),
        )
        if cursor.rowcount == 0:
            return False
        needed -= _stored_size(envelope)
    return True


def has_deliverable(connection: sqlite3.Connection, subscription: str, *, now: float) -> bool:
    """Whether a pull would get something; takes no lock that a writer would wait for."""
    (found,) = connection.execute(_HAS_DELIVERABLE, _moment(subscription, now)).fetchone()
    return bool(found)


def lease(
    connection: sqlite3.Connection,
    subscription: str,
    bounds: PullBounds,
    *,
    lease_id: str,
    now: float,
) -> Leased:
    """Lease the oldest deliverable messages; put those aside that were delivered too often."""
    taken: dict[int, int] = {}
    worn_out: list[int] = []
    total = 0
    found = connection.execute(
        _FIND_DELIVERABLE, {**_moment(subscription, now), "max_messages": bounds.max_messages}
    )
    # Row by row: of a backlog of full envelopes the bytes end a pull long before its messages do.
    for message_id, attempt, raw_bytes in found:
        if attempt >= MAX_ATTEMPTS:
            worn_out.append(message_id)
            continue
        total += raw_bytes
        if taken and total > bounds.max_bytes:
            break
        taken[message_id] = attempt + 1
    found.close()  # before anything that it reads is changed
    if worn_out:
        _put_worn_out_aside(connection, subscription, worn_out, now=now)
    if taken:
        until = now + min(bounds.lease_s, MAX_LEASE_S)
        connection.execute(_LEASE, (until, lease_id, subscription, _ids(taken)))
    return Leased(subscription=subscription, lease_id=lease_id, attempts=taken)


def read(connection: sqlite3.Connection, leased: Leased) -> list[Delivery]:
    """Return the deliveries of a lease, oldest first."""
    if not leased.attempts:
        return []
    return [
        Delivery(
            subscription=leased.subscription,
            message_id=message_id,
            lease_id=leased.lease_id,
            attempt=leased.attempts[message_id],
            published_at=published_at,
            envelope=Envelope(
                envelope_id=envelope_id,
                kind=cast("Kind | OldKind", kind),
                count=events,
                raw_bytes=raw_bytes,
                body=body,
                traces=traces,
            ),
        )
        for message_id, envelope_id, kind, events, raw_bytes, published_at, body, traces in (
            connection.execute(_READ, (_ids(leased.attempts),)).fetchall()
        )
    ]


def extend(
    connection: sqlite3.Connection, deliveries: Sequence[Delivery], *, lease_s: float, now: float
) -> list[Delivery]:
    """Renew the leases that have not expired; return their deliveries in the order given."""
    held: set[tuple[str, int | str]] = set()
    until = now + min(lease_s, MAX_LEASE_S)
    for (subscription, lease_id), ids in _hand_overs(deliveries):
        renewed = connection.execute(_EXTEND, (until, subscription, lease_id, now, ids)).fetchall()
        held.update((lease_id, message_id) for (message_id,) in renewed)
    return [each for each in deliveries if (each.lease_id, each.message_id) in held]


def ack(connection: sqlite3.Connection, deliveries: Sequence[Delivery]) -> None:
    """Remove deliveries whose lease was not handed over again."""
    for (subscription, lease_id), ids in _hand_overs(deliveries):
        connection.execute(_ACK, (subscription, lease_id, ids))


def release(connection: sqlite3.Connection, deliveries: Sequence[Delivery]) -> None:
    """Make deliveries deliverable again and take their attempt back."""
    for (subscription, lease_id), ids in _hand_overs(deliveries):
        connection.execute(_RELEASE, (subscription, lease_id, ids))


def put_aside(
    connection: sqlite3.Connection, deliveries: Sequence[Delivery], *, reason: str, now: float
) -> None:
    """Move deliveries to ``dead``; the messages stay."""
    for (subscription, lease_id), ids in _hand_overs(deliveries):
        connection.execute(_PUT_ASIDE, (reason, now, subscription, lease_id, ids))
        connection.execute(_ACK, (subscription, lease_id, ids))


def give_back(connection: sqlite3.Connection, leased: Leased) -> None:
    """Undo a lease whose puller has gone."""
    connection.execute(_RELEASE, (leased.subscription, leased.lease_id, _ids(leased.attempts)))


def probe(connection: sqlite3.Connection) -> None:
    """Change one byte that matters to nobody, to learn whether the disk takes writes."""
    connection.execute("UPDATE counters SET probes = probes + 1")


def fill_scratch(connection: sqlite3.Connection, size: int) -> None:
    """Store as many bytes as nobody needs, to learn whether the disk has room for them."""
    connection.execute(
        "INSERT OR REPLACE INTO scratch (only, filler) VALUES (1, zeroblob(?))", (size,)
    )


def clear_scratch(connection: sqlite3.Connection) -> None:
    """Free what ``fill_scratch`` took."""
    connection.execute("DELETE FROM scratch")


def read_counters(connection: sqlite3.Connection) -> Counters:
    """Return the sums over the file."""
    stored, freed = connection.execute("SELECT stored_bytes, freed_bytes FROM counters").fetchone()
    return Counters(stored_bytes=stored, freed_bytes=freed)


def read_backlog(connection: sqlite3.Connection, subscription: str, *, now: float) -> Backlog:
    """Return what one subscription has not acknowledged."""
    messages, events, size, dead, leased, oldest = connection.execute(
        _BACKLOG, _moment(subscription, now)
    ).fetchone()
    return Backlog(
        messages=messages,
        events=events,
        bytes=size,
        oldest_age_s=max(0.0, now - oldest) if oldest is not None else 0.0,
        leased=leased,
        dead=dead,
    )


def _put_worn_out_aside(
    connection: sqlite3.Connection, subscription: str, message_ids: Sequence[int], *, now: float
) -> None:
    reason = f"delivered {MAX_ATTEMPTS} times without being acknowledged"
    ids = _ids(message_ids)
    connection.execute(_PUT_ASIDE_WORN_OUT, (reason, now, subscription, ids))
    connection.execute(_REMOVE_WORN_OUT, (subscription, ids))


def _moment(subscription: str, now: float) -> dict[str, str | float]:
    return {"subscription": subscription, "now": now, "horizon": now + MAX_LEASE_S}


def _hand_overs(deliveries: Sequence[Delivery]) -> list[tuple[tuple[str, str], str]]:
    """Group deliveries by the pull that made them: one statement each instead of one a message."""
    groups: defaultdict[tuple[str, str], list[int | str]] = defaultdict(list)
    for delivery in deliveries:
        groups[delivery.subscription, delivery.lease_id].append(delivery.message_id)
    return [(key, _ids(message_ids)) for key, message_ids in groups.items()]


def _ids(message_ids: Iterable[int | str]) -> str:
    return orjson.dumps(list(message_ids)).decode()
