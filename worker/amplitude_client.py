"""Talks HTTP to Amplitude: posts ready-made events, and says what came back."""

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Literal, Self
from urllib.parse import urlsplit

import aiohttp
import msgspec

from sluice.core.amplitude import SIMULATED_KEY, AmplitudeConfig, Region
from sluice.tracing.spans import Value, calling
from worker.core.amplitude_answers import Answer, NoAnswer
from worker.core.holds import MAX_RETRY_AFTER_S

Endpoint = Literal["/2/httpapi", "/batch"]

HOSTS: Final[dict[Region, str]] = {
    "us": "https://api2.amplitude.com",
    "eu": "https://api.eu.amplitude.com",
}
CONNECT_TIMEOUT_S: Final = 5.0
BAD_REQUEST: Final = 400
MAX_ANSWER_BYTES: Final = 1024 * 1024
GZIP_LEVEL: Final = 1
GZIP_FROM_BYTES: Final = 1_400
"""A body that fits into one packet is not worth compressing."""
THREAD_FROM_BYTES: Final = 65_536
"""Compressing more takes longer than handing it to a thread."""

ONLY_SIMULATED: Final = Answer(401, b'{"code":401,"error":"the key is the simulator\'s: not sent"}')
"""In place of Amplitude's answer to a key that only the simulator knows: what waits is parked."""

_ENCODER: Final = msgspec.json.Encoder()
_HEADERS: Final = {"Content-Type": "application/json", "Accept": "application/json"}
_GZIP_HEADERS: Final = {**_HEADERS, "Content-Encoding": "gzip"}


class AmplitudeClient:
    """Connections to Amplitude; an async context manager.

    Args:
        base_url: Replaces scheme, host and port of every address; empty: Amplitude's own.
    """

    def __init__(self, base_url: str = "") -> None:
        parts = urlsplit(base_url)
        self._base_url = f"{parts.scheme}://{parts.netloc}" if base_url else ""
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open; connects when first used."""
        self._session = aiohttp.ClientSession(
            # Unlimited here: the callers bound their requests, and who waited for a connection
            # because others' requests hang would seem not to be answered.
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),
            skip_auto_headers=("User-Agent",),
            auto_decompress=True,
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

    async def post(
        self,
        config: AmplitudeConfig,
        endpoint: Endpoint,
        events: Sequence[bytes],
        *,
        timeout_s: float,
    ) -> Answer | NoAnswer:
        """Send events, each one's JSON text; never raises for what the network does."""
        assert self._session is not None  # noqa: S101 - it is used inside its context
        if config.api_key == SIMULATED_KEY and not self._base_url:
            return ONLY_SIMULATED
        body = body_of(config, events)
        is_packed = len(body) >= GZIP_FROM_BYTES
        if len(body) >= THREAD_FROM_BYTES:
            body = await asyncio.to_thread(_gzip, body)
        elif is_packed:
            body = _gzip(body)
        url = (self._base_url or HOSTS[config.region]) + endpoint
        with calling("POST", _described(url)) as call:
            headers = {**(_GZIP_HEADERS if is_packed else _HEADERS), **call.headers}
            answer = await self._ask(url, body, headers, timeout_s)
            if isinstance(answer, NoAnswer):
                call.fail("no_answer")
            else:
                call.set("http.response.status_code", answer.status)
                if answer.status >= BAD_REQUEST:
                    call.fail(str(answer.status))
        return answer

    async def _ask(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> Answer | NoAnswer:
        assert self._session is not None  # noqa: S101 - it is used inside its context
        try:
            async with self._session.post(
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=timeout_s, sock_connect=min(timeout_s, CONNECT_TIMEOUT_S)
                ),
            ) as response:
                return Answer(
                    response.status,
                    await _read(response.content),
                    _seconds(response.headers.get("Retry-After", "")),
                )
        except TimeoutError:
            return NoAnswer(f"Amplitude did not answer within {timeout_s:g} s")
        except (aiohttp.ClientError, OSError, ValueError, zlib.error) as error:
            return NoAnswer(f"Amplitude could not be asked: {type(error).__name__}")


def _described(url: str) -> dict[str, Value]:
    """Return the attributes of a request's span; an address of Amplitude holds no secret."""
    parts = urlsplit(url)
    return {
        "http.request.method": "POST",
        "server.address": parts.hostname or "",
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
        "url.full": url,
    }


def body_of(config: AmplitudeConfig, events: Sequence[bytes]) -> bytes:
    """Return the body of a request with these events."""
    key = _ENCODER.encode(config.api_key)
    options = b'],"options":{"min_id_length":%d}}' % config.min_id_length
    return b'{"api_key":' + key + b',"events":[' + b",".join(events) + options


def _gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


async def _read(content: aiohttp.StreamReader) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > MAX_ANSWER_BYTES:
            break  # it is no answer of Amplitude's; what was read is judged as such
    return b"".join(pieces)


def _seconds(text: str) -> float | None:
    return min(float(text), MAX_RETRY_AFTER_S) if text.isascii() and text.isdigit() else None
