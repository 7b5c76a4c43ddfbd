"""Error records: capped, counted, published like events (design, decision 9).

* ``record`` never waits and never raises; the answer does not depend on it.
* Equal refusals are one record with a count: those of the first ``collect_s`` together, later ones
  together at the end of ``window_s``.
* A tenant may have ``MAX_DISTINCT`` different records in a window; past that only the kind of error
  is kept and counted. Kinds are few, so memory is bounded, and nothing goes uncounted.
* Records that the queue does not take are kept for the next round, within the same bounds. What is
  left at the end of ``run`` is flushed. ``kill -9`` may cost the last ``collect_s`` of records; no
  client was promised these.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from gateway.publisher import Publisher
from gateway.waiting import first_of
from sluice.core.envelope import encode
from sluice.core.errors import ERRORS, ErrorRecord, ErrorType, Rejected
from sluice.core.event import format_ts
from sluice.telemetry import ERROR_RECORDS, EVENTS_REJECTED

MAX_DISTINCT: Final = 2_000
MAX_KEYS: Final = 50_000
"""Of all tenants together, kinds included."""
COLLECT_S: Final = 0.3
WINDOW_S: Final = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Key:
    """What makes two refusals equal."""

    tenant: str
    source: str
    error_type: ErrorType
    detail: str
    index: int | None = None
    event_id: str | None = None
    event_type: str | None = None
    user_id: str | None = None


@dataclass(slots=True)
class _Window:
    """Equal refusals, counted until they are due."""

    closes_at: float
    count: int
    seen_at: datetime
    request_id: str | None


class Rejections:
    """Collects refusals; ``run`` publishes them."""

    def __init__(
        self,
        publisher: Publisher,
        *,
        new_ids: Callable[[int], Sequence[str]],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        collect_s: float = COLLECT_S,
        window_s: float = WINDOW_S,
    ) -> None:
        self._publisher = publisher
        self._now = now
        self._monotonic = monotonic
        self._new_ids = new_ids
        self._collect_s = collect_s
        self._window_s = window_s
        self._windows: dict[_Key, _Window] = {}
        self._distinct: dict[str, int] = {}
        self._fresh = asyncio.Event()

    def record(
        self, tenant: str | None, source: str, rejected: Sequence[Rejected], request_id: str | None
    ) -> None:
        """Count refusals, and note those that leave a record; without a tenant none does."""
        for one in rejected:
            EVENTS_REJECTED.add(1, source, one.error_type)
            if tenant is not None and ERRORS[one.error_type].is_recorded:
                self._note(tenant, source, one, request_id)

    def _note(self, tenant: str, source: str, one: Rejected, request_id: str | None) -> None:
        key = _Key(
            tenant,
            source,
            one.error_type,
            one.detail,
            one.index,
            one.event_id,
            one.event_type,
            one.user_id,
        )
        window = self._windows.get(key)
        if window is None and self._distinct.get(tenant, 0) >= MAX_DISTINCT:
            key = _kind(key)
            request_id = None
            window = self._windows.get(key)
        if window is not None:
            if window.count:
                ERROR_RECORDS.add(1, "folded")
            else:
                window.request_id = request_id
            window.count += 1
            window.seen_at = self._now()
        elif len(self._windows) >= MAX_KEYS:
            ERROR_RECORDS.add(1, "dropped")
        else:
            closes_at = self._monotonic() + self._collect_s
            self._windows[key] = _Window(closes_at, 1, self._now(), request_id)
            self._distinct[tenant] = self._distinct.get(tenant, 0) + 1
            self._fresh.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Publish what is due, again and again; after ``stop`` everything that is left."""
        while not stop.is_set():
            if self._windows:
                await first_of(stop, within_s=self._collect_s)
            else:
                await first_of(stop, self._fresh, within_s=None)
            self._fresh.clear()
            await self.flush(self._monotonic())
        await self.flush(float("inf"))

    async def flush(self, until: float) -> None:
        """Publish the records of windows that close up to ``until``."""
        due = [key for key, window in self._windows.items() if window.closes_at <= until]
        counted = [key for key in due if self._windows[key].count]
        records = self._records(counted)
        counts = [self._windows[key].count for key in counted]
        for key in due:
            self._reopen_or_forget(key)
        for start in range(0, len(records), 1_000):
            part = slice(start, start + 1_000)
            refusal = await self._publisher.publish(encode("errors", records[part]))
            if refusal is None:
                ERROR_RECORDS.add(len(records[part]), "published")
            else:
                _log.warning(
                    "Error records were not stored", extra={"reason": refusal.error_type.value}
                )
                self._give_back(counted[part], counts[part])

    def _records(self, keys: Sequence[_Key]) -> list[ErrorRecord]:
        ids = self._new_ids(len(keys))
        return [
            ErrorRecord(
                tenant=key.tenant,
                error_id=error_id,
                ts=format_ts(window.seen_at),
                source=key.source,
                error_type=key.error_type,
                detail=key.detail,
                event_index=key.index,
                event_id=key.event_id,
                event_type=key.event_type,
                user_id=key.user_id,
                request_id=window.request_id,
                occurrences=window.count,
            )
            for key, error_id in zip(keys, ids, strict=True)
            for window in (self._windows[key],)
        ]

    def _reopen_or_forget(self, key: _Key) -> None:
        window = self._windows[key]
        if window.count:
            window.count = 0
            window.closes_at = self._monotonic() + self._window_s
            return
        del self._windows[key]
        left = self._distinct[key.tenant] - 1
        if left:
            self._distinct[key.tenant] = left
        else:
            del self._distinct[key.tenant]

    def _give_back(self, keys: Sequence[_Key], counts: Sequence[int]) -> None:
        for key, count in zip(keys, counts, strict=True):
            window = self._windows.get(key)
            if window is not None:
                window.count += count
                window.closes_at = self._monotonic() + self._collect_s


def _kind(key: _Key) -> _Key:
    return _Key(key.tenant, key.source, key.error_type, "Too many different errors of this kind.")
