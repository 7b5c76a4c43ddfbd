"""Compares what was delivered with what an Amplitude project counts, and then event by event."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from sluice.core.amplitude import AmplitudeConfig, split_pair
from sluice.core.event import IDENTIFY
from sluice.warehouse import ledger_amplitude
from sluice.warehouse.client import Warehouse
from sluice.warehouse.queries import Query
from worker.amplitude_reads import AmplitudeReads, Exported, Wanted, read_archive
from worker.core.reconciling import NAMED, Difference, Differences, Span, hour_text
from worker.encoding import frames
from worker.reconcile_counts import SLICE_EVENTS, all_rows

DESTINATION: Final = "amplitude"
LATE: Final = timedelta(days=7)
EARLY: Final = timedelta(days=1)
"""Events of a day are looked for among those received from a day before it to a week after it."""
DAYS_AT_ONCE: Final = 7
"""Longest range of an hourly series."""
MAX_TYPES: Final = 1_000
MAX_EXPORT_HOURS: Final = 24 * 9
FATES_AT_ONCE: Final = 500

Counts = dict[str, dict[int, int]]
"""Events by name at Amplitude and hour of their own time."""


def names_of(config: AmplitudeConfig, event_types: Iterable[str]) -> dict[str, str]:
    """Return what event types are called at Amplitude; what is no event there is left out."""
    renamed = dict(split_pair(pair) for pair in config.rename)
    return {one: renamed.get(one, one) for one in event_types if one != IDENTIFY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What was delivered of some days, by the events' own time."""

    counts: Counts
    types: Mapping[str, Sequence[str]]
    """By name at Amplitude."""
    slices: int

    @property
    def names(self) -> list[str]:
        """The names, the most frequent first."""
        return sorted(self.counts, key=lambda name: (-sum(self.counts[name].values()), name))


class AmplitudeCheck:
    """One reconciliation's questions about Amplitude.

    Args:
        warehouse: Where it is read.
        tenant: Whose.
        run_id: Names what is loaded of the exports.
        span: The window of the run; Amplitude is asked about the UTC days that it touches.
    """

    def __init__(self, warehouse: Warehouse, tenant: str, run_id: str, span: Span) -> None:
        self._warehouse = warehouse
        self._tenant = tenant
        self._run_id = run_id
        self.days = Span(span.days[0].since, span.days[-1].until)
        self._received = Span(self.days.since - EARLY, self.days.until + LATE)

    async def delivered(self, config: AmplitudeConfig, *, stored: int) -> Delivered:
        """Return what Amplitude should count.

        Raises:
            WarehouseError: It cannot be read.
        """
        # The window of received_at is wider than that of which the number is known.
        slices = 1 + 2 * stored // SLICE_EVENTS
        counts: Counts = {}
        types: dict[str, list[str]] = {}
        for part in range(slices):
            rows = await self._rows(ledger_amplitude.DELIVERED, slices=slices, slice=part)
            names = names_of(config, {row["event_type"] for row in rows})
            for row in rows:
                name = names.get(row["event_type"])
                if name is None:
                    continue
                hours = counts.setdefault(name, {})
                hours[row["hour"]] = hours.get(row["hour"], 0) + row["events"]
                if row["event_type"] not in types.setdefault(name, []):
                    types[name].append(row["event_type"])
        return Delivered(counts=counts, types=types, slices=slices)

    def ranges(self) -> list[tuple[datetime, datetime]]:
        """Return first and last day of each question that the days need."""
        days = [day.since for day in self.days.days]
        parts = [days[at : at + DAYS_AT_ONCE] for at in range(0, len(days), DAYS_AT_ONCE)]
        return [(part[0], part[-1]) for part in parts]

    async def upload_hours(self, pairs: Sequence[tuple[int, str]]) -> list[int]:
        """Return the hours in which events of these hours and types were sent, or may have been."""
        [row] = await self._rows(
            ledger_amplitude.UPLOADED, slices=1, slice=0, **_pair_params(pairs)
        )
        own = [hour for hour, _ in pairs]
        first, last = min(own), max(own) + 3600
        if row["events"]:
            first, last = min(first, row["first"]), max(last, row["last"])
        return list(range(first, last + 1, 3600))

    async def load(
        self, reads: AmplitudeReads, hour: int, wanted: Wanted, folder: Path, *, max_bytes: int
    ) -> int:
        """Load the wanted events of one hour's export; return how many there were.

        Raises:
            LaterError, AmplitudeReadError: As ``AmplitudeReads``.
            WarehouseError: They cannot be written.
        """
        loaded = 0
        moment = datetime.fromtimestamp(hour, UTC)
        async with reads.exported(moment, folder, max_bytes=max_bytes) as file:
            if file is None:
                return 0
            parts = read_archive(file, wanted)
            while part := await asyncio.to_thread(next, parts, None):
                rows = [self._row(one) for one in part]
                data = await asyncio.to_thread(frames, rows)
                await self._warehouse.insert_rows("amplitude_exports", data, columns=list(rows[0]))
                loaded += len(rows)
        return loaded

    async def name(
        self,
        found: Differences,
        pairs: Sequence[tuple[int, str]],
        delivered: Delivered,
        *,
        exported_until: int,
    ) -> int:
        """Name what differs; return how many events cannot be judged until exports hold them."""
        undecided = 0
        for part in range(delivered.slices):
            rows = await self._rows(
                ledger_amplitude.NOT_EXPORTED,
                slices=delivered.slices,
                slice=part,
                **_pair_params(pairs),
            )
            for row in rows:
                if row["at"] >= exported_until:
                    undecided += 1
                    continue
                found.add(
                    Difference(
                        kind="not_at_amplitude",
                        hour=f"{row['received'][:13]}:00:00Z",
                        event_id=row["id"],
                        event_type=row["event_type"],
                        received_at=f"{row['received']}Z",
                        destination=DESTINATION,
                        seen_in=["events", "outcomes (amplitude: delivered)"],
                    )
                )
        for row in await self._rows(ledger_amplitude.EXPORTED_TWICE):
            copies = f"Amplitude counts it {row['copies']} times"
            found.add(_at_amplitude("twice_at_amplitude", row, detail=copies))
        await self._name_only_exported(found)
        return undecided

    async def still_there(self) -> int:
        """Return how many events that were loaded are of people who were erased."""
        [row] = await self._rows(ledger_amplitude.ERASED_EXPORTED, slices=1, slice=0)
        return int(row["events"])

    async def forget(self) -> None:
        """Delete what was loaded."""
        await self._warehouse.run(
            ledger_amplitude.FORGET_EXPORTS, tenant=self._tenant, run_id=self._run_id
        )

    async def _name_only_exported(self, found: Differences) -> None:
        rows = await self._rows(ledger_amplitude.ONLY_EXPORTED, slices=1, slice=0)
        ids = [row["id"] for row in rows if _is_uuid(row["id"])]
        fates: dict[str, str] = {}
        for start in range(0, len(ids), FATES_AT_ONCE):
            part = ids[start : start + FATES_AT_ONCE]
            for row in await self._rows(ledger_amplitude.FATES_OF, ids=part):
                fates[row["id"]] = row["fate"]
        for row in rows:
            fate = fates.get(row["id"])
            if found.knows("missing", row["id"]):
                one = _at_amplitude("missing", row)
                found.add(one)
            elif fate != "delivered":
                said = f"its outcome is {fate}" if fate else "Sluice has no outcome of it"
                sender = f"sent by {row['library']}" if row["library"] else "sender unknown"
                detail = f"{said}; {sender}"
                found.add(_at_amplitude("only_at_amplitude", row, detail=detail))

    async def _rows(self, query: Query, **given: object) -> list[dict[str, Any]]:
        return await all_rows(
            self._warehouse,
            query,
            tenant=self._tenant,
            destination=DESTINATION,
            run_id=self._run_id,
            first=self.days.texts["since"],
            end=self.days.texts["until"],
            limit=NAMED + 1,
            **{**self._received.texts, **given},
        )

    def _row(self, one: Exported) -> dict[str, str]:
        return {
            "tenant": self._tenant,
            "run_id": self._run_id,
            "event_type": one.event_type,
            "event_time": one.event_time[:26],
            "insert_id": one.insert_id or "",
            "uid": one.uuid or "",
            "library": (one.library or "")[:100],
        }


def different_hours(ours: Mapping[int, int], theirs: Mapping[int, int]) -> list[int]:
    """Return the hours whose numbers differ, in order."""
    hours = sorted({*ours, *theirs})
    return [hour for hour in hours if ours.get(hour, 0) != theirs.get(hour, 0)]


def exported_until(delay_s: int) -> int:
    """Return the hour from which on exports may lack something, in Unix seconds."""
    now = int(time.time())
    return (now - delay_s) // 3600 * 3600 + 3600


def _pair_params(pairs: Sequence[tuple[int, str]]) -> dict[str, object]:
    return {"pair_hours": [hour for hour, _ in pairs], "pair_types": [kind for _, kind in pairs]}


def _at_amplitude(kind: str, row: Mapping[str, Any], *, detail: str = "") -> Difference:
    return Difference(
        kind=kind,
        hour=hour_text(row["hour"]),
        event_id=row["id"],
        event_type=row["event_type"],
        destination=DESTINATION,
        seen_in=["amplitude"],
        detail=detail,
    )


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
