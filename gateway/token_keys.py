"""What read tokens are verified with: the HS256 secret, or keys fetched from a JWKS address.

Nothing here is on the way of a request: keys are fetched in the background, the last good ones stay
while the address does not answer, and a token with an unknown key id asks for a fetch, which
happens at most every ten seconds.
"""

import asyncio
import logging
from importlib import import_module
from typing import Any, Final

import aiohttp
import msgspec

from gateway.core.auth import TokenKeys
from gateway.waiting import first_of

REFRESH_S: Final = 300.0
MIN_INTERVAL_S: Final = 10.0
FETCH_TIMEOUT_S: Final = 5.0
MAX_JWKS_BYTES: Final = 262_144
MAX_KEYS: Final = 100
FAMILY: Final = ("RS256", "ES256")


class _Jwks(msgspec.Struct):
    keys: list[dict[str, Any]]


_JWKS: Final = msgspec.json.Decoder(_Jwks)
_log = logging.getLogger(__name__)


def shared_secret(secret: str) -> TokenKeys:
    """Return the keys of the HS256 family."""
    return TokenKeys(("HS256",), secret=secret)


def parse_jwks(document: bytes) -> TokenKeys:
    """Return the RS256 and ES256 signing keys of a JWKS document; other keys are left out.

    Raises:
        ValueError: It is not a JWKS document.
    """
    try:
        entries = _JWKS.decode(document).keys
    except msgspec.DecodeError as error:
        message = "not a JWKS document"
        raise ValueError(message) from error
    import jwt  # as gateway.core.auth does it

    keys: dict[str, jwt.PyJWK] = {}
    for entry in entries[:MAX_KEYS]:
        try:
            key = jwt.PyJWK(entry)
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
            continue  # a kind of key that PyJWT does not know is none of ours
        if key.algorithm_name in FAMILY and key.public_key_use in {None, "sig"}:
            keys[key.key_id or ""] = key
    return TokenKeys(FAMILY, by_id=keys)


async def load_verifier(_stop: asyncio.Event) -> None:
    """Import what verifies tokens in a thread, so that the first token need not wait for it."""
    await asyncio.to_thread(import_module, "jwt")


class JwksSource:
    """Keeps the keys of a JWKS address up to date; ``run`` fetches."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys = TokenKeys(FAMILY)
        self._wanted = asyncio.Event()

    @property
    def keys(self) -> TokenKeys:
        """The last good keys; none before the first fetch."""
        return self._keys

    def ask(self) -> None:
        """Ask for a fetch soon, because a token could not be verified."""
        self._wanted.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Fetch at the start, when asked, and every five minutes, until ``stop``."""
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while not stop.is_set():
                self._wanted.clear()
                await self.fetch(session)
                await first_of(stop, within_s=MIN_INTERVAL_S)
                await first_of(stop, self._wanted, within_s=REFRESH_S - MIN_INTERVAL_S)

    async def fetch(self, session: aiohttp.ClientSession) -> None:
        """Fetch the keys once; where that fails, the last good ones stay."""
        try:
            async with session.get(self._url, allow_redirects=False) as answer:
                answer.raise_for_status()
                self._keys = parse_jwks(await _bounded(answer.content))
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            _log.warning("The JWKS was not fetched", extra={"reason": str(error)})


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    document = bytearray()
    async for part in content.iter_any():
        document += part
        if len(document) > MAX_JWKS_BYTES:
            message = "the JWKS document is too large"
            raise ValueError(message)
    return bytes(document)
