"""A gateway in the test's own process, over a real local queue, without worker and warehouse."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gateway.app import serve
from sluice.core.envelope import READABLE_KINDS, split, unseal
from sluice.core.tokens import mint_read_token
from sluice.credentials import jwt_secret
from sluice.queue import open_queue
from sluice.settings import Settings, load_settings
from sluice.tenants import TenantsFile
from tests.support.raw_http import exchange, request_bytes
from tests.support.segops import Answer

TENANT: Final = "acme"
TRACK: Final = "/api/ingestion/track"
BATCH: Final = "/api/ingestion/track/batch"
EVENT: Final = b'{"user_id":"u-1","event_type":"page_viewed"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A running gateway as its one tenant sees it."""

    url: str
    api_key: str
    settings: Settings
    stop: asyncio.Event

    def track_bytes(
        self, body: bytes = EVENT, *headers: tuple[str, str], target: str = TRACK
    ) -> bytes:
        """Return the bytes of an authorised request."""
        given = (
            ("Authorization", f"ApiKey {self.api_key}"),
            ("Content-Length", str(len(body))),
            *headers,
        )
        return request_bytes(target, headers=given, body=body)

    async def send(self, request: bytes) -> Answer:
        """Send bytes on a connection of their own and return the answer."""
        answer = await exchange(self.url, request)
        assert answer is not None, "the connection was closed without an answer"
        return answer

    async def ask(self, method: str, target: str, *headers: tuple[str, str]) -> Answer:
        """Send a request without a body."""
        return await self.send(request_bytes(target, method=method, headers=headers))

    def bearer(self, tenant: str = TENANT) -> tuple[str, str]:
        """Return the header of a read token."""
        secret = jwt_secret(self.settings)
        token = mint_read_token(tenant, secret=secret, now=datetime.now(UTC), ttl_s=60)
        return ("Authorization", f"Bearer {token}")


@asynccontextmanager
async def running_gateway(data_dir: Path, **overrides: object) -> AsyncIterator[Gateway]:
    """Serve on a free port until the block ends; then stop gracefully."""
    given: dict[str, object] = {"port": 0, "data_dir": data_dir, "worker_url": "http://127.0.0.1:1"}
    settings = load_settings(**(given | overrides))
    tenants = TenantsFile(settings.tenants_path)
    api_key = (
        tenants.rotate_key(TENANT)
        if TENANT in tenants.directory.by_slug
        else tenants.add_tenant(TENANT)
    )
    stop = asyncio.Event()
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(settings, stop, address.set_result))
        try:
            async with asyncio.timeout(20):
                url = await address
            yield Gateway(url=url, api_key=api_key, settings=settings, stop=stop)
        finally:
            stop.set()


async def stored_rows(settings: Settings) -> dict[str, list[bytes]]:
    """Return what the queue of a stopped gateway holds, by kind of row."""
    found: dict[str, list[bytes]] = {kind: [] for kind in READABLE_KINDS}
    async with open_queue(settings) as queue:
        for subscription in ("warehouse", "workflows"):
            while deliveries := await queue.pull(
                subscription, max_messages=1_000, max_bytes=100_000_000, lease_s=60, wait_s=0
            ):
                for delivery in deliveries:
                    found[delivery.envelope.kind] += split(unseal(delivery.envelope))
                await queue.ack(deliveries)
    return found
