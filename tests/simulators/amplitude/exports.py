"""The Export API: ``GET /api/2/export`` over the events that a project took.

The archive is a zip of gzipped files of one JSON object a line, by the hour of
``server_upload_time``, several an hour. An hour is loaded two hours after its end.
"""

import gzip
import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import NAMESPACE_OID, uuid5

import orjson

from tests.simulators.amplitude.answers import Answer, refused
from tests.simulators.amplitude.store import Store

HOUR_S: Final = 3600
LOAD_S: Final = 2 * HOUR_S
"""After the end of an hour until exports hold it."""
LONGEST_HOURS: Final = 365 * 24
MAX_BYTES: Final = 4 * 10**9
ROWS_IN_FILE: Final = 10_000
ZIP: Final = "application/zip"
NOTHING: Final = Answer(404, b"Raw data files were not found.", "text/plain")


@dataclass(frozen=True, slots=True)
class Hours:
    """The hours asked for, both included, in Unix seconds."""

    first: int
    last: int


def read_hours(given: Mapping[str, str]) -> Hours | Answer:
    """Return the hours that a query names, or what refuses it."""
    try:
        first, last = (_hour(given[name]) for name in ("start", "end"))
    except (KeyError, ValueError):
        return refused(400, "start and end must be hours (YYYYMMDDTHH)")
    if last < first or (last - first) // HOUR_S >= LONGEST_HOURS:
        return refused(400, "The first hour must not be after the last, nor a year before it")
    return Hours(first, last)


def _hour(text: str) -> int:
    moment = datetime.strptime(text, "%Y%m%dT%H").replace(tzinfo=UTC)
    return int(moment.timestamp())


class Archive:
    """An export that is being packed, part after part."""

    def __init__(self, api_key: str, store: Store, hours: Hours, loaded_until: float) -> None:
        """Prepare; what was uploaded from ``loaded_until`` on is not there yet."""
        self._app = zlib.crc32(api_key.encode())
        self._store = store
        self._hours = hours
        self._end = min(hours.last + HOUR_S, loaded_until)
        self._lines: dict[int, list[bytes]] = {}
        self._files: dict[int, int] = {}
        self._bytes = io.BytesIO()
        self._zip = zipfile.ZipFile(self._bytes, "w", zipfile.ZIP_STORED)
        self._size = 0

    def add(self, first: int, end: int) -> None:
        """Pack the events at these places."""
        for place in range(first, end):
            taken_at = self._store.taken_at[place]
            if place in self._store.gone or not self._hours.first <= taken_at < self._end:
                continue
            hour = int(taken_at) // HOUR_S * HOUR_S
            lines = self._lines.setdefault(hour, [])
            lines.append(orjson.dumps(self._row(place), option=orjson.OPT_APPEND_NEWLINE))
            if len(lines) >= ROWS_IN_FILE:
                self._pack(hour)

    def answer(self) -> Answer:
        """Return the archive."""
        for hour in sorted(self._lines):
            self._pack(hour)
        if not self._files:
            return NOTHING
        self._zip.close()
        if self._size > MAX_BYTES:
            return refused(400, "The export is larger than 4GB")
        return Answer(200, self._bytes.getvalue(), ZIP)

    def _pack(self, hour: int) -> None:
        data = b"".join(self._lines.pop(hour))
        self._size += len(data)
        number = self._files.get(hour, 0)
        self._files[hour] = number + 1
        at = datetime.fromtimestamp(hour, UTC)
        name = f"{self._app}/{self._app}_{at:%Y-%m-%d}_{at.hour}#{number}.json.gz"
        self._zip.writestr(name, gzip.compress(data, 1))

    def _row(self, place: int) -> dict[str, Any]:
        store = self._store
        uploaded = _text(store.taken_at[place])
        happened = _text(store.times_ms[place] / 1000)
        user = store.users[place] or store.devices[place] or ""
        return {
            "$insert_id": store.insert_ids[place],
            "$schema": None,
            "amplitude_id": zlib.crc32(user.encode()),
            "app": self._app,
            "client_event_time": happened,
            "client_upload_time": uploaded,
            "device_id": store.devices[place],
            "event_id": place,
            "event_properties": store.event_properties(place),
            "event_time": happened,
            "event_type": store.types[place],
            "library": "http/2.0",
            "processed_time": uploaded,
            "server_received_time": uploaded,
            "server_upload_time": uploaded,
            "session_id": -1,
            "user_id": store.users[place],
            "user_properties": {},
            "uuid": str(uuid5(NAMESPACE_OID, f"{self._app}/{place}")),
        }


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def places_of(store: Store, insert_ids: Sequence[str]) -> list[int]:
    """Return where the events of these ids are."""
    wanted = set(insert_ids)
    return [
        place
        for place, insert_id in enumerate(store.insert_ids)
        if insert_id in wanted and place not in store.gone
    ]
