"""What a live tail shows, and how it knows what it has shown.

A ``Position`` says which events were counted: how many by the millisecond in which they were
stored, for the last seconds, and that all before are done. Rows that become visible late are then
new, and nothing is counted twice; the position travels as the ``id`` of an event of the stream, so
that any gateway can go on from it.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

OVERLAP_MS: Final = 10_000
"""How long rows may take from the time that they bear until they are visible."""
MAX_POSITION_GROUPS: Final = 200
"""Milliseconds that a position remembers; past it the overlap gets shorter."""
MAX_EVENTS: Final = 50
"""Events of one piece of the stream."""
TYPES: Final[Mapping[str, str]] = {
    '"': "string",
    "{": "object",
    "[": "array",
    "t": "boolean",
    "f": "boolean",
    "n": "null",
}
"""By the first character of a JSON value; all others begin a number."""

_POSITION: Final = re.compile(r"[0-9]{1,15}(?:,[0-9]{1,9}:[0-9]{1,12}){0,200}", re.ASCII)
_ENCODER: Final = msgspec.json.Encoder()


class Position(msgspec.Struct, frozen=True):
    """What of a stream of stored events was counted."""

    floor_ms: int
    """Unix milliseconds of ClickHouse; what was stored before is done with."""
    groups: Mapping[int, int]
    """Events counted so far, by the millisecond in which they were stored, from the floor on."""

    def count_new(self, found: Mapping[int, int]) -> int:
        """Return how many of the events found were not counted yet."""
        return sum(
            max(0, count - self.groups.get(at_ms, 0))
            for at_ms, count in found.items()
            if at_ms >= self.floor_ms
        )


class Seen(msgspec.Struct, frozen=True):
    """One event as a tail shows it: never a value of its payload, nor who it is of."""

    event_id: str
    received_at: str
    event_type: str
    user_id: str
    """Masked."""
    source: str
    payload: dict[str, str]
    """Names of properties with the types of their values."""


class TailData(msgspec.Struct, frozen=True):
    """The data of one piece of the stream."""

    as_of: str
    count: int
    """Events since the piece before."""
    left_off: int
    """How many of them are not in ``events``."""
    events: Sequence[Seen]
    """The newest of them, the newest first."""


def advanced(found: Mapping[int, int], *, now_ms: int, since_ms: int = 0) -> Position:
    """Return the position after a look at what was stored.

    Args:
        found: Events by the millisecond in which they were stored, from ``since_ms`` on.
        now_ms: ClickHouse's clock before the look.
        since_ms: Before it nothing is remembered.
    """
    floor_ms = max(since_ms, now_ms - OVERLAP_MS)
    kept = sorted((at_ms for at_ms in found if at_ms >= floor_ms), reverse=True)
    if len(kept) > MAX_POSITION_GROUPS:
        kept = kept[:MAX_POSITION_GROUPS]
        floor_ms = kept[-1]
    return Position(floor_ms, {at_ms: found[at_ms] for at_ms in kept})


def write_position(position: Position) -> str:
    """Return a position as the id of an event of the stream."""
    groups = sorted(position.groups.items())
    return ",".join(
        [
            str(position.floor_ms),
            *(f"{at_ms - position.floor_ms}:{count}" for at_ms, count in groups),
        ]
    )


def read_position(text: str) -> Position | None:
    """Return the position that an id says; None for what is no id of ours."""
    if not _POSITION.fullmatch(text):
        return None
    floor, *groups = text.split(",")
    floor_ms = int(floor)
    pairs = (group.split(":") for group in groups)
    return Position(floor_ms, {floor_ms + int(after): int(count) for after, count in pairs})


def known_to_all(positions: Iterable[Position]) -> dict[int, int]:
    """Return the milliseconds that all positions know with the same count, with that count."""
    first, *others = positions
    same = set(first.groups.items())
    for other in others:
        same &= set(other.groups.items())
    return dict(same)


def is_to_show(
    position: Position,
    event: tuple[int, str],
    found: Mapping[int, int],
    shown: Collection[str],
) -> bool:
    """Whether an event, by its millisecond and id, is new to who is at a position.

    Two inserts may share a millisecond and become visible one after the other; then ``shown`` says
    which events came with the first.
    """
    at_ms, event_id = event
    if at_ms < position.floor_ms:
        return False
    before = position.groups.get(at_ms, 0)
    return not before or (found.get(at_ms, 0) > before and event_id not in shown)


def masked(user_id: str) -> str:
    """Return a hint at a user: the ends of a long id, nothing of a short one."""
    return f"{user_id[:2]}…{user_id[-2:]}" if len(user_id) >= 8 else "…"


def types_of(members: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return names with type words, from names with the first character of each value."""
    return {name: TYPES.get(first, "number") for name, first in members}


def piece(data: TailData, position: Position) -> bytes:
    """Return one event of the stream."""
    encoded = _ENCODER.encode(data)
    return b"event: events\nid: %s\ndata: %s\n\n" % (write_position(position).encode(), encoded)


def last_piece(reason: str) -> bytes:
    """Return the event that says why the stream ends."""
    return b'event: end\ndata: {"reason":"%s"}\n\n' % reason.encode()


def merged(older: TailData, newer: TailData) -> TailData:
    """Return one piece for two that a slow reader has not taken: the newest events stay."""
    events = [*newer.events, *older.events][:MAX_EVENTS]
    count = older.count + newer.count
    return TailData(newer.as_of, count, count - len(events), events)
