"""Rows to what Amplitude takes, by the tenants file as it is now."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import NAMESPACE_OID, uuid5

import msgspec

from sluice.core.amplitude import AmplitudeConfig
from sluice.core.envelope import Envelope, EnvelopeError, split, unseal
from sluice.core.errors import ConfigError, ErrorRecord, ErrorType
from sluice.core.event import format_ts
from sluice.core.outcomes import Fate, Outcome
from sluice.core.tenant import Directory
from sluice.telemetry import AMPLITUDE_TRUNCATED
from sluice.tenants import TenantsFile
from worker.core.amplitude_map import EventMapper, Filtered, SourceEvent
from worker.core.lane import Item
from worker.lot_rows import Parked

DESTINATION: Final = "amplitude"

_EVENT: Final = msgspec.json.Decoder(SourceEvent)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", re.ASCII).fullmatch
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError)


@dataclass(frozen=True, slots=True)
class Skipped:
    """An event that is not for Amplitude."""

    outcome: Outcome
    record: ErrorRecord | None
    """Where it was not the tenant's own choice."""
    user_id: str
    """Whose it is."""


class Mapping:
    """The mappers of all tenants that forward to Amplitude."""

    def __init__(self, tenants: TenantsFile) -> None:
        self._file = tenants
        self._directory: Directory | None = None
        self._mappers: dict[str, tuple[AmplitudeConfig, EventMapper]] = {}

    @property
    def tenants(self) -> Sequence[str]:
        """The tenants that forward."""
        return list(self._current())

    def config(self, tenant: str) -> AmplitudeConfig | None:
        """Return a tenant's project; None where it has none."""
        found = self._current().get(tenant)
        return found[0] if found else None

    def of_envelope(self, envelope: Envelope) -> tuple[list[Item], list[Skipped]]:
        """Return what is to be sent of an envelope, in order, and what is not.

        Rows that cannot be read are left out: the warehouse keeps them as dead letters. So are
        those of which no outcome could be written: they would hold up all others for ever.
        """
        mappers = self._current()
        if envelope.kind != "events" or not mappers:
            return [], []
        try:
            data = unseal(envelope)
        except EnvelopeError:
            return [], []
        rows = split(data)
        try:
            events: Iterable[SourceEvent | None] = _EVENT.decode_lines(data)
        except _UNREADABLE:
            events = [_event_of(row) for row in rows]
        items: list[Item] = []
        skipped: list[Skipped] = []
        good_time = ""  # of the row before: an envelope's rows mostly have the same
        for row, event in zip(rows, events, strict=True):
            if event is None or event.tenant not in mappers or not _UUID(event.event_id):
                continue
            if event.received_at != good_time:
                if not _is_time(event.received_at):
                    continue
                good_time = event.received_at
            _add(mappers[event.tenant][1], event, row, items, skipped)
        return items, skipped

    def of_parked(
        self, tenant: str, rows: Sequence[Parked]
    ) -> tuple[list[Item], list[Skipped]] | None:
        """Return what is to be sent of parked rows, in order, and what is not any more.

        None where the tenant forwards no more.
        """
        found = self._current().get(tenant)
        if found is None:
            return None
        mapper = found[1]
        items: list[Item] = []
        skipped: list[Skipped] = []
        for parked in rows:
            event = _event_of(parked.row)
            if event is not None:
                _add(mapper, event, parked.row, items, skipped, place=parked.place)
        return items, skipped

    def of_rows(
        self, tenant: str, rows: Sequence[bytes]
    ) -> tuple[list[Item], list[Skipped], list[bytes]]:
        """Return what is to be sent of a tenant's rows, what is not, and what cannot be read.

        Raises:
            ConfigError: The tenant does not forward any more.
        """
        if tenant not in (current := self._current()):
            message = f"tenant {tenant!r} has no amplitude.api_key any more."
            raise ConfigError(message)
        mapper = current[tenant][1]
        items: list[Item] = []
        skipped: list[Skipped] = []
        unreadable: list[bytes] = []
        for row in rows:
            event = _event_of(row)
            if event is None or event.tenant != tenant:
                unreadable.append(row)
            else:
                _add(mapper, event, row, items, skipped)
        return items, skipped, unreadable

    def _current(self) -> dict[str, tuple[AmplitudeConfig, EventMapper]]:
        directory = self._file.directory
        if directory is not self._directory:
            before = self._mappers
            self._mappers = {
                slug: _mapper(tenant.amplitude, before.get(slug))
                for slug, tenant in directory.by_slug.items()
                if tenant.amplitude is not None
            }
            self._directory = directory
        return self._mappers


def _mapper(
    config: AmplitudeConfig, before: tuple[AmplitudeConfig, EventMapper] | None
) -> tuple[AmplitudeConfig, EventMapper]:
    return before if before and before[0] == config else (config, EventMapper(config))


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return _TIME(text) is not None


def _event_of(row: bytes) -> SourceEvent | None:
    try:
        return _EVENT.decode(row)
    except _UNREADABLE:
        return None


def _add(
    mapper: EventMapper,
    event: SourceEvent,
    row: bytes,
    items: list[Item],
    skipped: list[Skipped],
    place: int = 0,
) -> None:
    mapped = mapper.map(event)
    if isinstance(mapped, Filtered):
        skipped.append(_skipped(event, mapped))
        return
    if mapped.cuts:
        AMPLITUDE_TRUNCATED.inc(mapped.cuts)
    items.append(
        Item(
            event.tenant,
            event.user_id,
            event.event_id,
            event.received_at,
            row,
            mapped.body,
            place,
        )
    )


def _skipped(event: SourceEvent, why: Filtered) -> Skipped:
    at = format_ts(datetime.now(UTC))
    outcome = Outcome(
        event.tenant,
        event.event_id,
        DESTINATION,
        Fate.FILTERED,
        why.reason,
        why.detail,
        at,
        event.received_at,
    )
    if why.is_choice:
        return Skipped(outcome, None, event.user_id)
    record = ErrorRecord(
        tenant=event.tenant,
        # A function of the event, so that a redelivery writes the same record.
        error_id=str(uuid5(NAMESPACE_OID, f"{DESTINATION}\x00{event.tenant}\x00{event.event_id}")),
        ts=event.received_at,
        source=DESTINATION,
        error_type=ErrorType.DESTINATION_FILTERED,
        detail=f"{why.detail} ({why.reason})",
        event_id=event.event_id,
        event_type=event.event_type,
        user_id=event.user_id,
    )
    return Skipped(outcome, record, event.user_id)
