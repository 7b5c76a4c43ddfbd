"""What the warehouse destination makes of envelopes between the queue and an insert."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import ceil
from typing import Final

from sluice.core.envelope import Envelope, split, unseal
from sluice.core.errors import ErrorRecord
from sluice.core.event import format_ts
from sluice.queue.protocol import Delivery
from worker.core.letters import Letter, letter_of_body, letter_of_row, record_of
from worker.core.rows import Facts, Poison, Trait, is_well_formed, keep
from worker.encoding import compress

SHARE_OVERRUN: Final = 1.25
"""A pull may pass the bounds of a batch; an insert for what is over them alone is not worth it."""
NO_FACTS: Final = Facts(named=[], positions=(), hours=frozenset(), identified=(), poison=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One envelope and what is known of its rows."""

    delivery: Delivery
    facts: Facts = NO_FACTS
    traits: dict[int, list[Trait]] = field(default_factory=dict)
    """By position of the event."""
    broken: str = ""
    """Why the envelope cannot be read; empty if it can."""

    @property
    def envelope(self) -> Envelope:
        """What came through the queue."""
        return self.delivery.envelope


@dataclass(frozen=True, slots=True)
class Part:
    """What is to be inserted of one envelope."""

    source: Prepared
    left_out: frozenset[int]
    body: bytes


@dataclass(frozen=True, slots=True)
class Dead:
    """A row or an envelope (``row`` is None) that cannot be stored."""

    source: Prepared
    row: bytes | None
    reason: str


def without_malformed_keys(prepared: Prepared) -> Prepared:
    """Return the same with malformed keys as poison: ClickHouse or the filter refused one."""
    facts = prepared.facts
    entries = list(zip(facts.positions, facts.named, strict=True))
    good = [(position, key) for position, key in entries if is_well_formed(key)]
    bad = [
        Poison(position, "event_id or received_at is malformed")
        for position, key in entries
        if not is_well_formed(key)
    ]
    changed = Facts(
        named=[key for _, key in good],
        positions=[position for position, _ in good],
        hours=facts.hours,
        slots=facts.slots,
        identified=facts.identified,
        poison=[*facts.poison, *bad],
        accepted=facts.accepted,
        received_from=facts.received_from,
    )
    return replace(prepared, facts=changed)


def parts_of(sources: Sequence[Prepared], dropped: dict[int, set[int]]) -> list[Part]:
    """Return what is left of envelopes without the dropped rows; untouched ones as they came."""
    parts: list[Part] = []
    for place, source in enumerate(sources):
        left_out = frozenset(dropped.get(place, ()))
        if not left_out:
            parts.append(Part(source, left_out, source.envelope.body))
        elif len(left_out) < source.envelope.count:
            body = compress(keep(unseal(source.envelope), left_out))
            parts.append(Part(source, left_out, body))
    return parts


def rows_of(part: Part) -> int:
    """Return how many rows of a part are to be inserted."""
    return part.source.envelope.count - len(part.left_out)


def shares_of(parts: Sequence[Part], *, max_rows: int, max_bytes: int) -> list[Sequence[Part]]:
    """Return parts as the shares of as few inserts as need be, alike in bytes.

    Args:
        parts: In order, which they keep.
        max_rows: Of one insert; a share may be ``SHARE_OVERRUN`` times as large.
        max_bytes: The same in bytes, uncompressed.
    """
    size = sum(part.source.envelope.raw_bytes for part in parts)
    filled = max(sum(map(rows_of, parts)) / max_rows, size / max_bytes)
    wanted = ceil(filled / SHARE_OVERRUN)
    shares: list[list[Part]] = []
    at = 0
    for part in parts:
        if at * wanted >= size * len(shares):
            shares.append([])
        shares[-1].append(part)
        at += part.source.envelope.raw_bytes
    return list(shares)


def lines_of(part: Part) -> list[bytes]:
    """Return the rows of a part, one by one."""
    rows = split(unseal(part.source.envelope))
    return [row for position, row in enumerate(rows) if position not in part.left_out]


def letters_of(dead: Sequence[Dead]) -> tuple[list[Letter], list[ErrorRecord]]:
    """Return the letters of what cannot be stored, and the records that tell the tenants."""
    letters: list[Letter] = []
    records: list[ErrorRecord] = []
    for one in dead:
        envelope, attempt = one.source.envelope, one.source.delivery.attempt
        said = {"reason": one.reason, "envelope_id": envelope.envelope_id}
        if one.row is None:
            letters.append(letter_of_body(envelope.body, attempt=attempt, **said))
            continue
        letters.append(letter_of_row(one.row, attempt=attempt, **said))
        seen_at = datetime.fromtimestamp(one.source.delivery.published_at, UTC)
        record = record_of(letters[-1], one.row, seen_at=format_ts(seen_at))
        if record is not None and envelope.kind == "events":
            records.append(record)
    return letters, records
