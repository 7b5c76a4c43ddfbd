"""Reads back what an Amplitude project holds: counts, and the events themselves.

What is relied on of the Export API (Amplitude, "Export API"): ``GET /api/2/export`` with ``start``
and ``end``, both ``YYYYMMDDTHH`` in UTC and inclusive, about ``server_upload_time``; the answer is
a zip of gzipped files of one JSON object a line, several files an hour; 404 where there is nothing;
400 where it would be over 4 GB; an hour is whole two hours after its end. Segmentation counts by
the event's own time in the project's time zone, costs days x events, and answers 429 above 1,000 in
five minutes.
"""

import asyncio
import gzip
import tempfile
import zipfile
import zlib
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from sluice.core.amplitude import SIMULATED_KEY, AmplitudeConfig, Region
from sluice.core.errors import SluiceError
from sluice.private_files import ensure_private_dir

HOSTS: Final[dict[Region, str]] = {
    "us": "https://amplitude.com",
    "eu": "https://analytics.eu.amplitude.com",
}
CONNECT_TIMEOUT_S: Final = 5.0
COUNT_TIMEOUT_S: Final = 60.0
PIECE_TIMEOUT_S: Final = 60.0
PIECE_BYTES: Final = 1024 * 1024
MAX_COUNT_BYTES: Final = 4 * 1024 * 1024
MAX_LINE_BYTES: Final = 4 * 1024 * 1024
MAX_RETRY_S: Final = 600.0
WAIT_S: Final = 60.0
"""After a 429 that names no time: the limits are of five minutes."""
HOURLY: Final = "-3600000"
ROWS_AT_ONCE: Final = 20_000


class AmplitudeReadError(SluiceError):
    """Amplitude refuses a question for good; the text says why."""


class LaterError(SluiceError):
    """Amplitude does not answer now.

    Args:
        message: What it said.
        after_s: When to ask again.
    """

    def __init__(self, message: str, after_s: float) -> None:
        super().__init__(message)
        self.after_s = after_s


class _Data(msgspec.Struct):
    series: list[list[float]] = []
    xValues: list[str] = []  # noqa: N815 - Amplitude's spelling


class _Counted(msgspec.Struct):
    data: _Data


class Exported(msgspec.Struct, rename={"insert_id": "$insert_id"}):
    """What is read of an exported event."""

    event_type: str = ""
    event_time: str = ""
    insert_id: str | None = None
    uuid: str | None = None
    library: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which exported events matter: by the hour of their own time and type."""

    pairs: Collection[tuple[int, str]]

    def takes(self, one: Exported) -> bool:
        """Whether it is one of them."""
        return (_hour_of(one.event_time), one.event_type) in self.pairs


_COUNTED: Final = msgspec.json.Decoder(_Counted)
_EXPORTED: Final = msgspec.json.Decoder(Exported)
_UNREADABLE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    msgspec.DecodeError,
    UnicodeDecodeError,
    RecursionError,
    RuntimeError,  # an encrypted member, or one packed in a way that Python has not
)
"""What an archive that somebody else made can raise."""


class AmplitudeReads:
    """A project's own APIs, by its keys."""

    def __init__(
        self, session: aiohttp.ClientSession, config: AmplitudeConfig, base_url: str
    ) -> None:
        parts = urlsplit(base_url)
        own = f"{parts.scheme}://{parts.netloc}" if base_url else ""
        if config.api_key == SIMULATED_KEY and not own:
            message = "the tenant's key is the simulator's, which Amplitude does not know"
            raise AmplitudeReadError(message)
        self._session = session
        self._base = own or HOSTS[config.region]
        self._auth = aiohttp.encode_basic_auth(config.api_key, config.secret_key)

    async def hourly(self, event_type: str, first: datetime, last: datetime) -> dict[int, int]:
        """Return how many events of a type a project counts, by hour, days ``first`` to ``last``.

        Raises:
            LaterError: Its limits are reached, or it does not answer.
            AmplitudeReadError: It refuses.
        """
        query = {
            "e": msgspec.json.encode({"event_type": event_type}).decode(),
            "start": first.strftime("%Y%m%d"),
            "end": last.strftime("%Y%m%d"),
            "m": "totals",
            "i": HOURLY,
        }
        async with self._get("/api/2/events/segmentation", query, COUNT_TIMEOUT_S) as answer:
            body = await answer.content.read(MAX_COUNT_BYTES)
            while piece := await answer.content.read(MAX_COUNT_BYTES):
                body += piece
                if len(body) > MAX_COUNT_BYTES:
                    message = "Amplitude's answer is too large"
                    raise AmplitudeReadError(message)
        try:
            data = _COUNTED.decode(body).data
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            message = f"Amplitude's answer cannot be read: {error}"
            raise LaterError(message, WAIT_S) from None
        values = data.series[0] if data.series else []
        return {
            _hour_of(label): int(value)
            for label, value in zip(data.xValues, values, strict=False)
            if value
        }

    @asynccontextmanager
    async def exported(
        self, hour: datetime, folder: Path, *, max_bytes: int
    ) -> AsyncIterator[IO[bytes] | None]:
        """Yield the archive of one hour as a file that is gone afterwards; None: it has nothing.

        Raises:
            LaterError, AmplitudeReadError: As ``hourly``.
        """
        text = hour.strftime("%Y%m%dT%H")
        await asyncio.to_thread(ensure_private_dir, folder)
        with tempfile.TemporaryFile(dir=folder) as file:
            found = await self._download({"start": text, "end": text}, file, max_bytes)
            file.seek(0)
            yield file if found else None

    async def _download(self, query: dict[str, str], file: IO[bytes], max_bytes: int) -> bool:
        size = 0
        path = "/api/2/export"
        async with self._get(path, query, None, nothing=404) as answer:
            if answer.status == 404:
                return False
            async for piece in answer.content.iter_chunked(PIECE_BYTES):
                size += len(piece)
                if size > max_bytes:
                    message = f"an hour of the project is larger than {max_bytes:,} bytes"
                    raise AmplitudeReadError(message)
                await asyncio.to_thread(file.write, piece)
        return True

    @asynccontextmanager
    async def _get(
        self, path: str, query: dict[str, str], total_s: float | None, *, nothing: int = 0
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        timeout = aiohttp.ClientTimeout(
            total=total_s, connect=CONNECT_TIMEOUT_S, sock_read=PIECE_TIMEOUT_S
        )
        try:
            async with self._session.get(
                self._base + path,
                params=query,
                headers={"Authorization": self._auth},
                timeout=timeout,
                allow_redirects=False,
            ) as answer:
                if answer.status not in {200, nothing}:
                    raise await _refusal(answer)
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            message = f"Amplitude does not answer: {type(error).__name__}"
            raise LaterError(message, WAIT_S) from error


async def _refusal(answer: aiohttp.ClientResponse) -> SluiceError:
    said = (await answer.content.read(500)).decode(errors="replace")
    if answer.status == 429 or answer.status >= 500:
        given = answer.headers.get("Retry-After", "")
        after_s = float(given) if given.isdecimal() else WAIT_S
        return LaterError(f"Amplitude answered {answer.status}: {said}", min(after_s, MAX_RETRY_S))
    if answer.status in {401, 403}:
        message = (
            f"Amplitude answered {answer.status}: amplitude.api_key and amplitude.secret_key"
            " must be the project's"
        )
        return AmplitudeReadError(message)
    return AmplitudeReadError(f"Amplitude answered {answer.status}: {said}")


def read_archive(file: IO[bytes], wanted: Wanted) -> Iterator[Sequence[Exported]]:
    """Yield the wanted events of an archive, some thousands at a time. Blocks: for a thread.

    Raises:
        AmplitudeReadError: It is no such archive.
    """
    found: list[Exported] = []
    try:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                with archive.open(name) as packed, gzip.open(packed) as lines:
                    while line := lines.readline(MAX_LINE_BYTES):
                        one = _EXPORTED.decode(line)
                        if wanted.takes(one):
                            found.append(one)
                        if len(found) >= ROWS_AT_ONCE:
                            yield found
                            found = []
    except _UNREADABLE as error:
        message = f"Amplitude's export cannot be read: {error}"
        raise AmplitudeReadError(message) from error
    if found:
        yield found


def _hour_of(text: str) -> int:
    """Return the hour of a time in UTC, as Amplitude writes it; 0 where it is none."""
    try:
        moment = datetime.fromisoformat(f"{text[:13].replace(' ', 'T')}:00+00:00")
    except ValueError:
        return 0
    return int(moment.timestamp())
