"""The events that one project took: deduplicated, in the order taken, little held per event.

Columns instead of objects: a million events with properties of 200 bytes need about 500 MB. An
event is known by its ``insert_id`` together with its device (the user's, where none is given) for
7 days. ``$identify`` changes the user's properties and is no event in any count of the dashboard's.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from tests.simulators.amplitude.properties import apply, plain_or_set
from tests.simulators.amplitude.rules import IDENTIFY, RESERVED_TYPES, Checked, cut, read_object
from tests.simulators.amplitude.wire import ABSENT, Event

DEDUPLICATED_S: Final = 7 * 86_400
MAX_EVENTS: Final = 5_000_000
MAX_PROPERTY_BYTES: Final = 1_000_000_000
MAX_USERS: Final = 2_000_000
MAX_COPIES: Final = 2**32 - 1


class FullError(Exception):
    """The simulator holds as many events as it may."""


class Store:
    """What one project took."""

    def __init__(self) -> None:
        """Start empty."""
        self.insert_ids: list[str | None] = []
        self.users: list[str | None] = []
        self.devices: list[str | None] = []
        self.types: list[str] = []
        self.times_ms = array("q")
        self.taken_at = array("d")
        self.copies = array("I")
        self.properties: list[bytes] = []
        self.revenue: dict[int, float] = {}
        """By place, of those that have one."""
        self.user_properties: dict[str, dict[str, Any]] = {}
        self.gone: set[int] = set()
        """The places of deleted events."""
        self.received = 0
        self.duplicates = 0
        self.identifies = 0
        self._seen: dict[str, int] = {}
        self._seen_elsewhere: dict[tuple[str, str], int] = {}
        self._names: dict[str, str] = {}
        self._property_bytes = 0

    def __len__(self) -> int:
        """Return how many events were taken, deleted ones included."""
        return len(self.types)

    def take(self, checked: Checked, now: float) -> None:
        """Keep the events that are new; ``now`` is the time of those that carry none.

        Raises:
            FullError: There is no room; nothing was taken.
        """
        if len(self) + len(checked) > MAX_EVENTS or self._property_bytes > MAX_PROPERTY_BYTES:
            raise FullError
        self.received += len(checked)
        now_ms = int(now * 1000)
        seen, name = self._seen, self._names.setdefault
        for event, text in zip(checked.events, checked.properties, strict=True):
            insert_id = event.insert_id
            place = len(self.types)
            if insert_id is not None:
                first = seen.setdefault(insert_id, place)
                if first != place and self._is_duplicate(event, insert_id, first, now):
                    continue
            user, device, kind = event.user_id, event.device_id, event.event_type
            self.insert_ids.append(insert_id)
            self.users.append(user and name(user, user))
            self.devices.append(device and name(device, device))
            self.types.append(name(kind, kind))
            self.times_ms.append(now_ms if event.time is None else event.time)
            self.taken_at.append(now)
            self.copies.append(1)
            self.properties.append(text)
            self._property_bytes += len(text)
            if event.price is not None or event.revenue is not None:
                self.revenue[place] = _revenue(event)
            if kind == IDENTIFY:
                self.identifies += 1
            if event.user_properties is not ABSENT:
                self._set_properties(event)

    def rows(self, since: int = 0) -> Iterator[bytes]:
        """Yield each event taken as a line of JSON, from this place on, in the order taken."""
        for place in range(since, len(self)):
            if place in self.gone:
                continue
            row: dict[str, Any] = {
                "n": place,
                "insert_id": self.insert_ids[place],
                "user_id": self.users[place],
                "device_id": self.devices[place],
                "event_type": self.types[place],
                "time": self.times_ms[place],
                "copies": self.copies[place],
            }
            if place in self.revenue:
                row["revenue"] = self.revenue[place]
            if self.types[place] in RESERVED_TYPES:
                row["reserved"] = True
            yield orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)

    def event_properties(self, place: int) -> Mapping[str, Any]:
        """Return the properties of one event; none where a number in them is beyond all floats."""
        text = self.properties[place]
        try:
            return (orjson.loads(text) if text else None) or {}
        except orjson.JSONDecodeError:
            return {}

    def known_users(self) -> set[str]:
        """Return everybody of whom something is held."""
        return {user for user in self.users if user is not None} | self.user_properties.keys()

    def delete_users(self, users: Sequence[str], *, before: float) -> None:
        """Forget these users' properties and events taken before, and that they were ever here."""
        names = set(users)
        for place, user in enumerate(self.users):
            if user not in names or self.taken_at[place] >= before:
                continue
            self.gone.add(place)
            self.users[place] = None
            self.properties[place] = b""
        for user in names:
            self.user_properties.pop(user, None)

    def remove(self, place: int) -> None:
        """Lose one event, as if it had never come."""
        self.gone.add(place)

    def double(self, place: int) -> None:
        """Take one event a second time, against its ``insert_id``."""
        if len(self) >= MAX_EVENTS:
            raise FullError
        self.insert_ids.append(self.insert_ids[place])
        self.users.append(self.users[place])
        self.devices.append(self.devices[place])
        self.times_ms.append(self.times_ms[place])
        self.taken_at.append(self.taken_at[place])
        self.copies.append(1)
        self.properties.append(self.properties[place])
        self.types.append(self.types[place])
        if place in self.revenue:
            self.revenue[len(self) - 1] = self.revenue[place]

    def _is_duplicate(self, event: Event, insert_id: str, first: int, now: float) -> bool:
        """Say whether it was taken before, and count the copy; else note the place it will have."""
        owner = event.device_id or event.user_id or ""
        if self._owner(first) == owner:
            known = first
        else:
            known = self._seen_elsewhere.get((insert_id, owner), -1)
        is_held = known >= 0 and known not in self.gone
        if is_held and now - self.taken_at[known] <= DEDUPLICATED_S:
            self.duplicates += 1
            self.copies[known] = min(self.copies[known] + 1, MAX_COPIES)
            return True
        if known == first:
            self._seen[insert_id] = len(self.types)
        else:
            self._seen_elsewhere[insert_id, owner] = len(self.types)
        return False

    def _owner(self, place: int) -> str:
        return self.devices[place] or self.users[place] or ""

    def set_user_properties(self, user: str, given: Mapping[str, Any]) -> None:
        """Change the properties of a user: operations, or plain values that are set."""
        if given and (user in self.user_properties or len(self.user_properties) < MAX_USERS):
            apply(self.user_properties.setdefault(user, {}), plain_or_set(cut(given)))

    def _set_properties(self, event: Event) -> None:
        user = event.user_id or event.device_id
        if user is not None and not event.skip_user_properties_sync:
            self.set_user_properties(user, read_object(event.user_properties) or {})


def _revenue(event: Event) -> float:
    """Price times quantity wins over revenue when both are sent (Amplitude, "revenue")."""
    if event.price is not None and (event.quantity is not None or event.revenue is None):
        return event.price * (1 if event.quantity is None else event.quantity)
    return event.revenue or 0.0
