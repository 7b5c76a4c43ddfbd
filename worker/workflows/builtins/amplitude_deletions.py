"""Asks Amplitude to delete users (User Privacy API, ``POST /api/2/deletions/users``).

Asking again for users who are marked already is harmless: they stay in their job, so that a step
that was interrupted may ask for the same ones again.
"""

from collections.abc import Sequence
from typing import Any, Final

import aiohttp
import msgspec

from sluice.core.amplitude import SIMULATED_KEY, AmplitudeConfig, Region

PATH: Final = "/api/2/deletions/users"
HOSTS: Final[dict[Region, str]] = {
    "us": "https://amplitude.com",
    "eu": "https://analytics.eu.amplitude.com",
}
MAX_USERS: Final = 100
"""Of one request."""
PAUSE_S: Final = 1.05
"""Between requests: one a second is allowed."""
TIMEOUT_S: Final = 60.0
MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
REQUESTER: Final = "sluice"


class Job(msgspec.Struct, frozen=True):
    """A deletion job, as far as it is needed."""

    day: str = ""
    invalid_ids: list[msgspec.Raw] = []


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What Amplitude said."""

    status: int
    """0 where it did not answer."""
    days: Sequence[str] = ()
    unknown: int = 0
    """How many it does not know."""
    retry_after_s: float = 0.0


_JOBS: Final = msgspec.json.Decoder(Job | list[Job])
_ENCODER: Final = msgspec.json.Encoder()


async def ask_to_delete(
    config: AmplitudeConfig, user_ids: Sequence[str], *, base_url: str
) -> Asked:
    """Ask for the deletion of at most ``MAX_USERS``; never raises for what the network does."""
    if config.api_key == SIMULATED_KEY and not base_url:
        return Asked(status=401)
    members: dict[str, Any] = {
        "user_ids": user_ids,
        "requester": REQUESTER,
        "ignore_invalid_id": True,
    }
    try:
        async with (
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
                skip_auto_headers=("User-Agent",),
            ) as session,
            session.post(
                (base_url.rstrip("/") or HOSTS[config.region]) + PATH,
                data=_ENCODER.encode(members),
                headers={
                    "Authorization": aiohttp.encode_basic_auth(config.api_key, config.secret_key),
                    "Content-Type": "application/json",
                    "Accept": "application/json",
                },
                allow_redirects=False,
            ) as response,
        ):
            if response.status != 200:
                return Asked(status=response.status, retry_after_s=_seconds(response.headers))
            body = b""
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > MAX_ANSWER_BYTES:
                    break  # it is no answer of Amplitude's
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
        return Asked(status=0)
    return _read(body)


def _read(body: bytes) -> Asked:
    try:
        found = _JOBS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Asked(status=0)  # a proxy's page: nobody knows what became of it
    jobs = found if isinstance(found, list) else [found]
    return Asked(
        status=200,
        days=sorted({job.day for job in jobs if job.day}),
        unknown=sum(len(job.invalid_ids) for job in jobs),
    )


def _seconds(headers: Any) -> float:
    text = headers.get("Retry-After", "")
    return min(float(text), 3600.0) if text.isascii() and text.isdigit() else 0.0
