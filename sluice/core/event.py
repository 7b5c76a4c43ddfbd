"""The event: stamped once at the edge, never recomputed downstream (design, decision 1).

A candidate is a parsed and valid event that has no identity yet; ``stamp`` and ``stamp_batch`` fix
its ids and times for good. A redelivered event is byte for byte the same, so its keys are a pure
function of the event as first accepted.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from itertools import repeat
from typing import Final, cast, overload
from uuid import UUID

import msgspec

MAX_USER_ID_CHARS: Final = 255
MAX_EVENT_TYPE_CHARS: Final = 200
MAX_EVENT_ID_CHARS: Final = 128
MAX_EVENT_BYTES: Final = 262_144
MAX_PAYLOAD_DEPTH: Final = 32
MAX_BATCH_EVENTS: Final = 500
REPEAT_WINDOW: Final = timedelta(days=7)
"""A copy of an event within so long of the one before is a duplicate (design, decision 8)."""
NEW_ID_RANDOM_BYTES: Final = 10
"""How much randomness ``new_event_ids`` takes, for any number of ids."""

IDENTIFY: Final = "context_identified"
"""The event type whose payload is about the user, not about what happened."""
NAMESPACE: Final = UUID("6f6a3f0e-6d0c-5b7e-9c55-0f4a8a1b7d10")
"""Namespace of the version 5 ids. Changing it would make every client retry a new event."""
DERIVED: Final = "5"
"""The version's digit in the id of an event that the client named."""
_VERSION_AT: Final = 14
_ID_CHARS: Final = 36
_TAILS: Final = [f"{number:03x}" for number in range(0x1000)]
"""The last three hexadecimal digits of an id."""
_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
"""The hexadecimal digit that holds the variant, by the digit that the hash has there."""


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A valid event that is not yet stamped."""

    user_id: str
    event_type: str
    occurred_at: str | None
    """UTC, ``YYYY-MM-DDTHH:MM:SS[.f…]`` with up to 9 digits; None means the receive time."""
    payload: bytes
    """The client's own JSON text of the payload object, in UTF-8."""
    client_id: str | None = None
    """The client's event_id, or what the Idempotency-Key makes of it; None if neither was sent."""
    anonymous_id: str = ""
    normalised: tuple[str, ...] = ()
    """Why the payload is not byte for byte what was sent (reference, 4); nearly always empty."""


class Candidates(Sequence[Candidate]):
    """The candidates of a batch, column by column: most are never made as objects of their own.

    The columns have one entry for each candidate, with the meaning of the field of ``Candidate``.
    """

    __slots__ = (
        "_normalised",
        "anonymous_ids",
        "are_on_one_line",
        "client_ids",
        "event_types",
        "occurred_ats",
        "payloads",
        "user_ids",
    )

    def __init__(self, candidates: Sequence[Candidate] = ()) -> None:
        self.user_ids: list[str] = []
        self.event_types: list[str] = []
        self.occurred_ats: list[str | None] = []
        self.payloads: list[msgspec.Raw] = []
        self.client_ids: list[str | None] = []
        self.anonymous_ids: list[str] = []
        self.are_on_one_line = True
        """Whether it is known that no payload holds a line feed or carriage return."""
        self._normalised: dict[int, tuple[str, ...]] = {}
        for candidate in candidates:
            self.append(candidate)

    def append(self, candidate: Candidate) -> None:
        """Add a candidate behind the others."""
        if candidate.normalised:
            self._normalised[len(self)] = candidate.normalised
        self.user_ids.append(candidate.user_id)
        self.event_types.append(candidate.event_type)
        self.occurred_ats.append(candidate.occurred_at)
        self.payloads.append(msgspec.Raw(candidate.payload))
        self.are_on_one_line = False
        self.client_ids.append(candidate.client_id)
        self.anonymous_ids.append(candidate.anonymous_id)

    def extend_columns(
        self,
        *,
        user_ids: Sequence[str],
        event_types: Sequence[str],
        occurred_ats: Sequence[str | None],
        payloads: Sequence[msgspec.Raw],
        client_ids: Sequence[str | None],
        anonymous_ids: Sequence[str],
        are_on_one_line: bool = False,
    ) -> None:
        """Add columns of one length, of candidates in which nothing was repaired."""
        self.user_ids += user_ids
        self.event_types += event_types
        self.occurred_ats += occurred_ats
        self.payloads += payloads
        self.client_ids += client_ids
        self.anonymous_ids += anonymous_ids
        self.are_on_one_line &= are_on_one_line

    def count_normalised(self) -> dict[str, int]:
        """Return how many were repaired, by reason."""
        return dict(Counter(reason for why in self._normalised.values() for reason in why))

    def __len__(self) -> int:
        return len(self.user_ids)

    @overload
    def __getitem__(self, index: int) -> Candidate: ...
    @overload
    def __getitem__(self, index: slice) -> "Candidates": ...
    def __getitem__(self, index: int | slice) -> "Candidate | Candidates":
        if isinstance(index, slice):
            return Candidates([self[at] for at in range(*index.indices(len(self)))])
        return Candidate(
            self.user_ids[index],
            self.event_types[index],
            self.occurred_ats[index],
            bytes(self.payloads[index]),
            self.client_ids[index],
            self.anonymous_ids[index],
            self._normalised.get(range(len(self))[index], ()),
        )


class Event(msgspec.Struct, frozen=True, gc=False):
    """One stamped fact of one tenant; its fields are columns of ``events``, in order.

    The table itself adds ``stored_at`` and ``version``.
    """

    tenant: str
    event_id: str
    """A UUID in text form: version 5 where the client named the event, else version 7."""
    user_id: str
    anonymous_id: str
    event_type: str
    occurred_at: str
    received_at: str
    """UTC, ``YYYY-MM-DDTHH:MM:SS.ffffff``."""
    source: str
    payload: msgspec.Raw


def derive_event_id(tenant: str, client_id: str, owner: str | None = None) -> str:
    """Return one id per tenant and client id, the same on every machine (design, decision 1).

    What the user of a session names is that user's own (``owner``): else anybody with a browser
    could name an event that a server is about to send, which would then count as a repeat.
    """
    return _derive(_scope(tenant, owner), client_id)


def _scope(tenant: str, owner: str | None) -> bytes:
    # No id holds a zero byte, so no two scopes and ids look the same when joined.
    owned = b"" if owner is None else owner.encode() + b"\x00"
    return NAMESPACE.bytes + tenant.encode() + b"\x00" + owned


def _derive(scope: bytes, client_id: str) -> str:
    # uuid.uuid5 gives the same, several times slower: this runs for every event a client names.
    digest = sha1(scope + client_id.encode(), usedforsecurity=False).hexdigest()
    variant = _VARIANT[digest[16]]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def is_derived(event_id: str) -> bool:
    """Whether the client named the event, so that a retry of it may come later."""
    return event_id[_VERSION_AT] == DERIVED


def versions_of(event_ids: Sequence[str]) -> str:
    """Return the version's digit of each id, ``DERIVED`` or another; all have 36 characters."""
    return "".join(event_ids)[_VERSION_AT::_ID_CHARS]


def time_in_id(event_id: str) -> float | None:
    """Return the unix seconds at which a version 7 id was made; None for another version."""
    if event_id[14] != "7":
        return None
    return int(event_id[:8] + event_id[9:13], 16) / 1000


def new_event_ids(now_ms: int, random_bytes: bytes, count: int) -> list[str]:
    """Return UUIDs of version 7 in text form, ascending in the order of the batch.

    The random part of the first is drawn; the others count up from it (RFC 9562, 6.2, method 2).
    That sorts and compresses better than a draw for each and is as unlikely to meet another batch.

    Args:
        now_ms: Unix milliseconds.
        random_bytes: ``NEW_ID_RANDOM_BYTES`` of them.
        count: How many ids, at most 2**32.
    """
    rand_a = int.from_bytes(random_bytes[:2]) & 0x0FFF
    rand_b = int.from_bytes(random_bytes[2:4]) & 0x3FFF | 0x8000
    first = min(int.from_bytes(random_bytes[4:10]), 2**48 - count)  # so that no carry is needed
    millis = f"{now_ms:012x}"
    prefix = f"{millis[:8]}-{millis[8:]}-7{rand_a:03x}-{rand_b:04x}-"
    ids: list[str] = []
    while len(ids) < count:
        head, tail = divmod(first + len(ids), len(_TAILS))
        head_text = f"{prefix}{head:09x}"
        ids += [head_text + text for text in _TAILS[tail : tail + count - len(ids)]]
    return ids


def format_ts(moment: datetime) -> str:
    """Return an aware time as ``YYYY-MM-DDTHH:MM:SS.ffffff`` in UTC, always with six digits."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")[:26]


def stamp(
    candidate: Candidate,
    *,
    tenant: str,
    source: str,
    received_at: str,
    new_id: str,
    owner: str | None = None,
) -> Event:
    """Return the event that a candidate becomes.

    Args:
        candidate: What the source parsed.
        tenant: Slug of the tenant that the credential belongs to.
        source: The name of the way in, such as ``track`` or ``segment``.
        received_at: As ``format_ts`` writes it.
        new_id: A version 7 UUID in text form, used where the client named no id.
        owner: The user of a session, whose own the ids are that it names.
    """
    client_id = candidate.client_id
    return Event(
        tenant,
        new_id if client_id is None else derive_event_id(tenant, client_id, owner),
        candidate.user_id,
        candidate.anonymous_id,
        candidate.event_type,
        candidate.occurred_at or received_at,
        received_at,
        source,
        _on_one_line(candidate.payload),
    )


def stamp_batch(
    candidates: Candidates,
    *,
    tenant: str,
    source: str,
    received_at: str,
    new_ids: Sequence[str],
    owner: str | None = None,
) -> list[Event]:
    """Return what ``stamp`` returns for each candidate, in order.

    Args:
        candidates: What the source parsed.
        tenant: Slug of the tenant that the credential belongs to.
        source: The name of the way in, such as ``track`` or ``segment``.
        received_at: As ``format_ts`` writes it.
        new_ids: A version 7 UUID for each candidate, also for those that do not need one.
        owner: The user of a session, whose own the ids are that it names.
    """
    count = len(candidates)
    if len(new_ids) != count:
        message = f"{len(new_ids)} ids for {count} candidates"
        raise ValueError(message)
    # A struct is called from C, column beside column: no bytecode runs for an event.
    return list(
        map(
            Event,
            repeat(tenant, count),
            _ids(_scope(tenant, owner), candidates.client_ids, new_ids),
            candidates.user_ids,
            candidates.anonymous_ids,
            candidates.event_types,
            _times(candidates.occurred_ats, received_at),
            repeat(received_at, count),
            repeat(source, count),
            candidates.payloads
            if candidates.are_on_one_line
            else _payloads_on_one_line(candidates.payloads),
        )
    )


def _times(occurred_ats: Sequence[str | None], received_at: str) -> Iterable[str]:
    if all(occurred_ats):
        return cast("Sequence[str]", occurred_ats)
    return [occurred_at or received_at for occurred_at in occurred_ats]


def _ids(scope: bytes, client_ids: Sequence[str | None], new_ids: Sequence[str]) -> Sequence[str]:
    if client_ids.count(None) == len(client_ids):
        return new_ids
    return [
        new_id if client_id is None else _derive(scope, client_id)
        for client_id, new_id in zip(client_ids, new_ids, strict=True)
    ]


def _payloads_on_one_line(payloads: Sequence[msgspec.Raw]) -> Sequence[msgspec.Raw]:
    # One search through all is much cheaper than one through each, and hardly ever finds anything.
    together = b"".join(payloads)
    if b"\n" in together or b"\r" in together:
        return [_on_one_line(bytes(payload)) for payload in payloads]
    return payloads


def _on_one_line(text: bytes) -> msgspec.Raw:
    # ClickHouse keeps the text of a JSON object as it stands
    # (input_format_json_read_objects_as_strings), so the payload travels unescaped. Rows are
    # separated by line feeds, so the rare payload that holds one travels as a JSON string
    # instead; ClickHouse stores the same text.
    if b"\n" in text or b"\r" in text:
        return msgspec.Raw(msgspec.json.encode(text.decode()))
    return msgspec.Raw(text)
