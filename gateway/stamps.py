"""What an event is stamped with: its receive time and its id, at a fraction of their usual price.

The text of the current second and a few ids of the current millisecond are made once and used by
all requests that fall into them.
"""

import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from sluice.core.event import NEW_ID_RANDOM_BYTES, format_ts, new_event_ids

POOL_BYTES: Final = 512 * NEW_ID_RANDOM_BYTES
IDS_AHEAD: Final = 8
"""Ids made at once for single events of the same millisecond; they ascend, as those of a batch."""


class Stamps:
    """Makes receive times and ids from a clock and a source of randomness."""

    def __init__(
        self,
        *,
        random: Callable[[int], bytes] = os.urandom,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        self._random = random
        self._unix_s = unix_s
        self._pool = b""
        self._at = 0
        self._second = -1
        self._second_text = ""
        self._milli = -1
        self._ahead: list[str] = []

    def received_at(self) -> str:
        """Return the time now, as ``format_ts`` writes it."""
        micros = int(self._unix_s() * 1_000_000)
        second, rest = divmod(micros, 1_000_000)
        if second != self._second:
            self._second = second
            self._second_text = format_ts(datetime.fromtimestamp(second, UTC))[:20]
        return f"{self._second_text}{rest:06d}"

    def new_id(self) -> str:
        """Return a UUID of version 7 in text form."""
        milli = int(self._unix_s() * 1000)
        if milli != self._milli or not self._ahead:
            self._milli = milli
            self._ahead = new_event_ids(milli, self._draw(), IDS_AHEAD)
            self._ahead.reverse()
        return self._ahead.pop()

    def new_ids(self, count: int) -> Sequence[str]:
        """Return UUIDs of version 7 in text form, ascending."""
        return new_event_ids(int(self._unix_s() * 1000), self._draw(), count)

    def _draw(self) -> bytes:
        at = self._at
        if at == len(self._pool):
            self._pool = self._random(POOL_BYTES)
            at = 0
        self._at = end = at + NEW_ID_RANDOM_BYTES
        return self._pool[at:end]
