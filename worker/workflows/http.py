"""Sends the requests of workflows: to foreign addresses, with answers that may be hostile.

What it keeps to, whoever is on the other side:

- No connection to an address that is not public, unless the operator lists it: not of the document,
  not of a redirect, and not of a name that resolves to one (``resolving``).
- An end within the step's time, redirects and body included; and half a minute without a byte is
  an end too.
- Bounded memory: what is large or not text streams to a file; headers, compressed bodies and files
  have their bounds.
- Connections are not used twice, cookies not kept: nothing of one request is there for the next.
- What is said of an error holds no address but its host, and no header.

``NoAnswer.was_sent`` is false only where no connection was made.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from errno import ECANCELED
from types import SimpleNamespace, TracebackType
from typing import Final, Self
from urllib.parse import quote
from weakref import WeakValueDictionary

import aiohttp
from aiohttp import hdrs
from aiohttp.http_exceptions import LineTooLong
from yarl import URL

from sluice.workflows.files import FileTooLargeError, FileWriter, RunFiles
from worker.workflows.core.calls import REDIRECTS, Request, is_same_origin, redirected
from worker.workflows.core.file_names import extension_of
from worker.workflows.core.hearing import MAX_INLINE_BYTES, goes_to_file
from worker.workflows.core.reach import place_of
from worker.workflows.core.state import Answer, FileBody, NoAnswer
from worker.workflows.core.unpacking import (
    ACCEPTED,
    MAX_PIECE_BYTES,
    BadBodyError,
    Unpacker,
    encoding_of,
)
from worker.workflows.resolving import LISTED_BY, Guard, RefusedAddressError, asking_tenant

CONNECT_TIMEOUT_S: Final = 10.0
IDLE_TIMEOUT_S: Final = 30.0
"""Without a byte, of steps that may take longer than this in all."""
MAX_AT_ONCE: Final = 512
"""Requests under way; the others wait, and the wait counts."""
MAX_OF_TENANT: Final = 128
"""Of one tenant, so that those whose answers do not come leave room for the others'."""
MAX_FIELD_BYTES: Final = 16 * 1024
MAX_HEADERS_BYTES: Final = 64 * 1024
_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))
_UNKNOWN_TYPE: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one request may do."""

    timeout_s: float
    """For all of it."""
    max_redirects: int = 0
    may_leave_origin: bool = False
    """Redirects may lead to another scheme, host or port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePlace:
    """Where a body goes that is kept as a file."""

    files: RunFiles
    tenant: str
    run_id: str
    stem: str
    """Of the file's name; how it ends depends on the answer."""

    def writing(self, name: str) -> AbstractAsyncContextManager[FileWriter]:
        """Write the file; see ``RunFiles.writing``."""
        return self.files.writing(self.tenant, self.run_id, name)


class _RefusedError(Exception):
    """The other side broke a bound."""


class _DiskError(Exception):
    """A file cannot be written."""


@dataclass(slots=True)
class _Sending:
    """What is known of a request that is under way."""

    trace: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(is_connected=False))
    hops: int = 0

    @property
    def was_sent(self) -> bool:
        return self.hops > 0 or bool(self.trace.is_connected)


class HttpShell:
    """The HTTP client of all runs of a process; an async context manager.

    Args:
        private_hosts: Hosts and ports that may be private (``core.reach.listed``).
        may_send: Asked between connecting and sending; where it says no, nothing is sent.
        listed_by: What lists the private ones, for who reads that one is not.
    """

    def __init__(
        self,
        private_hosts: frozenset[tuple[str, int]] = frozenset(),
        *,
        may_send: Callable[[], bool] = lambda: True,
        listed_by: str = LISTED_BY,
    ) -> None:
        self._guard = Guard(private_hosts, listed_by=listed_by)
        self._may_send = may_send
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)
        self._of_tenants: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open; connects when first used."""
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(self._connected)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                force_close=True,
                use_dns_cache=False,
                resolver=self._guard,
                socket_factory=self._guard.open_socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trace_configs=[trace],
            skip_auto_headers=(hdrs.USER_AGENT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE),
            max_line_size=MAX_FIELD_BYTES,
            max_field_size=MAX_FIELD_BYTES,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
        await self._guard.close()

    async def _connected(
        self,
        _session: aiohttp.ClientSession,
        context: SimpleNamespace,
        _params: aiohttp.TraceConnectionCreateEndParams,
    ) -> None:
        # A worker that was paused learns here that the run may be another one's by now.
        if not self._may_send():
            raise OSError(ECANCELED, "this worker may not send now")
        context.trace_request_ctx.is_connected = True

    async def send(self, request: Request, bounds: Bounds, place: FilePlace) -> Answer | NoAnswer:
        """Send a request and return its answer; never raises for what the other side does."""
        sending = _Sending()
        asking_tenant.set(place.tenant)
        try:
            own = self._of_tenants.setdefault(place.tenant, asyncio.Semaphore(MAX_OF_TENANT))
            async with asyncio.timeout(bounds.timeout_s), own, self._slots:
                return await self._followed(request, bounds, place, sending)
        except (RefusedAddressError, _RefusedError, BadBodyError, FileTooLargeError) as error:
            # Where nothing was sent, it is the document's own address that is refused.
            return NoAnswer(
                kind="hostile" if sending.was_sent else "unsendable",
                detail=str(error),
                was_sent=sending.was_sent,
            )
        except aiohttp.ServerTimeoutError:
            return _silent("no byte came for a while", sending)
        except TimeoutError:
            return NoAnswer(kind="timeout", detail="it took too long", was_sent=sending.was_sent)
        except (aiohttp.ClientError, OSError, ValueError, _DiskError) as error:
            return _network(error, sending)

    async def _followed(
        self, request: Request, bounds: Bounds, place: FilePlace, sending: _Sending
    ) -> Answer:
        """Send a request, and follow the redirects that may be followed."""
        while True:
            following = await self._sent(request, bounds, place, sending)
            if isinstance(following, Answer):
                return following
            sending.hops += 1
            if sending.hops > bounds.max_redirects:
                raise _RefusedError(f"it redirects more than {bounds.max_redirects} times")
            if not bounds.may_leave_origin and not is_same_origin(request.url, following.url):
                raise _RefusedError(
                    f"it redirects to another origin, {_host(following.url)}, and the description"
                    " of the operation declares no redirect"
                )
            request = following

    async def _sent(
        self, request: Request, bounds: Bounds, place: FilePlace, sending: _Sending
    ) -> Answer | Request:
        """Send one request; return its answer, or the request that it redirects to."""
        found = place_of(request.url)
        if isinstance(found, str):
            raise _RefusedError(found)
        if _is_literal(found[0]):
            self._guard.check_literal(*found)
        assert self._session is not None  # noqa: S101 - it is used inside its context
        is_long = bounds.timeout_s > IDLE_TIMEOUT_S
        async with self._session.request(
            request.method,
            URL(request.url, encoded=True),
            headers=_headers(request),
            data=request.body,
            allow_redirects=False,
            trace_request_ctx=sending.trace,
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=min(CONNECT_TIMEOUT_S, bounds.timeout_s),
                sock_read=IDLE_TIMEOUT_S if is_long else None,
            ),
        ) as response:
            try:
                if bounds.max_redirects and response.status in REDIRECTS:
                    location = response.headers.get(hdrs.LOCATION)
                    if location is not None:
                        return _next(request, location)
                return await _answer(response, place)
            finally:
                response.close()  # what is still to come of it is not waited for


def _headers(request: Request) -> list[tuple[str, str]]:
    given = {name.lower() for name, _ in request.headers}
    usual = ((hdrs.ACCEPT_ENCODING, ACCEPTED), (hdrs.USER_AGENT, "sluice"))
    return [*request.headers, *(one for one in usual if one[0].lower() not in given)]


def _is_literal(host: str) -> bool:
    return ":" in host or host.rstrip(".").rpartition(".")[2].isdecimal()


def _next(request: Request, location: str) -> Request:
    # Some servers send their addresses as they are; the bytes are what counts.
    found = redirected(request, quote(location, safe=_PRINTABLE, errors="surrogateescape"))
    if isinstance(found, str):
        raise _RefusedError(f"it redirects, but {found}")
    return found


def _host(url: str) -> str:
    found = place_of(url)
    return "one that is none" if isinstance(found, str) else f"{found[0]}:{found[1]}"


async def _answer(response: aiohttp.ClientResponse, place: FilePlace) -> Answer:
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    if sum(len(name) + len(value) for name, value in headers.items()) > MAX_HEADERS_BYTES:
        raise _RefusedError(f"its headers are longer than {MAX_HEADERS_BYTES:,} bytes")
    media_type = headers.get("content-type", "")
    async with aclosing(_pieces(response, headers.get("content-encoding", ""))) as pieces:
        if not 200 <= response.status < 300:
            body: bytes | FileBody = await _start_of(pieces, media_type)
        else:
            announced = response.content_length or 0
            body = await _body(pieces, media_type, place, announced)
    return Answer(status=response.status, headers=headers, body=body)


async def _start_of(pieces: AsyncIterator[bytes], media_type: str) -> bytes:
    """Return what an error says: as much of it as is kept of any text."""
    start = bytearray()
    async for piece in pieces:
        start += piece
        if len(start) >= MAX_INLINE_BYTES:
            break
    return b"" if goes_to_file(media_type, 0) else bytes(start[:MAX_INLINE_BYTES])


async def _body(
    pieces: AsyncIterator[bytes], media_type: str, place: FilePlace, announced: int
) -> bytes | FileBody:
    start = bytearray()
    async for piece in pieces:
        start += piece
        if goes_to_file(media_type, len(start)):
            break
    if not start or (not goes_to_file(media_type, len(start)) and _is_text(start)):
        return bytes(start)
    if announced > place.files.max_bytes:
        raise FileTooLargeError(place.files.max_bytes)
    plain = media_type.partition(";")[0].strip().lower()[:100] or _UNKNOWN_TYPE
    name = f"{place.stem}.{extension_of(plain)}"
    try:
        async with place.writing(name) as file:
            await _copied(start, pieces, file)
    except (FileTooLargeError, BadBodyError, aiohttp.ClientError, TimeoutError):
        raise
    except OSError as error:
        raise _DiskError(f"its file cannot be written: {error.strerror}") from error
    return FileBody(id=name, size_bytes=file.size_bytes, media_type=plain, sha256=file.sha256)


async def _copied(start: bytearray, pieces: AsyncIterator[bytes], file: FileWriter) -> None:
    held = start
    async for piece in pieces:
        held += piece
        if len(held) >= MAX_PIECE_BYTES:
            await file.write(bytes(held))
            held.clear()
    await file.write(bytes(held))


def _is_text(body: bytearray) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


async def _pieces(response: aiohttp.ClientResponse, encoding: str) -> AsyncGenerator[bytes]:
    """Yield a body, decompressed, in pieces of bounded size."""
    code = encoding_of(encoding)
    if code is None:
        async for chunk in response.content.iter_any():
            yield chunk
        return
    unpacker = Unpacker(code)
    async for chunk in response.content.iter_any():
        unpacker.feed(chunk)
        while piece := await asyncio.to_thread(unpacker.take):
            yield piece
    unpacker.finish()


def _silent(detail: str, sending: _Sending) -> NoAnswer:
    return NoAnswer(kind="network", detail=detail, was_sent=sending.was_sent)


def _network(error: Exception, sending: _Sending) -> NoAnswer:
    """Return what a library's error means, in words of our own: its own may hold addresses."""
    match error:
        case _DiskError():
            return _silent(str(error), sending)
        case aiohttp.ClientConnectorCertificateError():
            return _silent(f"the certificate of {error.host} is not trusted", sending)
        case aiohttp.ClientConnectorDNSError():
            return _silent(f"the name {error.host} is not known", sending)
        case aiohttp.ClientConnectorError():
            reason = error.os_error.strerror or type(error.os_error).__name__
            return _silent(f"{error.host}:{error.port} cannot be reached: {reason}", sending)
        case aiohttp.ClientPayloadError():
            return _silent("its body was cut short", sending)
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return _silent("the connection was cut", sending)
        case aiohttp.ClientResponseError() if _is_too_long(error):
            words = f"one of its headers is longer than {MAX_FIELD_BYTES:,} bytes"
            return NoAnswer(kind="hostile", detail=words)
        case aiohttp.ClientResponseError():
            return NoAnswer(kind="hostile", detail="it is not HTTP as it should be")
        case _:
            return _silent(f"the request failed: {type(error).__name__}", sending)


def _is_too_long(error: BaseException | None) -> bool:
    """Whether a bound of the parser is behind an error; it comes wrapped, once or twice."""
    while error is not None and not isinstance(error, LineTooLong):
        error = error.__cause__
    return error is not None
