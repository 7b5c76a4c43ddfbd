"""A shop as Shopify plays it: signed deliveries, and the samples of reference/shopify.md, 7."""

import io
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
from yarl import URL

from gateway.sources.shopify_signature import sign
from sluice.cli.webhook import samples
from sluice.tenants import TenantsFile
from tests.support.gateway import TENANT, Gateway, running_gateway
from tests.support.segops import Answer, check_manners

SECRET: Final = "hush-secret-1"
OLD_SECRET: Final = "hush-secret-2"
SHOP: Final = "acme-tea.myshopify.com"
VECTOR: Final = b'{"id":5001,"email":"nora@example.com","total_price":"42.50","currency":"EUR"}'
VECTOR_SIGNATURE: Final = "LDR1A/OvTwIhHq6QZTBxDTWh/9cgcu4ycQHeUuA2YSA="


def sample(number: int) -> tuple[str, bytes]:
    """Return topic and body of a sample, by its number in the reference."""
    found = samples()[number - 1]
    return found.topic, bytes(found.body)


def headers(
    topic: str, body: bytes, given: Mapping[str, str | None] | None = None, *, secret: str = SECRET
) -> dict[str, str]:
    """Return the headers of a delivery; one that is given as None is left out."""
    usual: dict[str, str | None] = {
        "Content-Type": "application/json",
        "X-Shopify-Topic": topic,
        "X-Shopify-Hmac-SHA256": sign(body, secret).decode(),
        "X-Shopify-Shop-Domain": SHOP,
        "X-Shopify-API-Version": "2026-10",
        "X-Shopify-Webhook-Id": str(uuid.uuid4()),
    }
    usual.update(given or {})
    return {name: value for name, value in usual.items() if value is not None}


class Shop:
    """Posts deliveries for one tenant."""

    def __init__(self, session: aiohttp.ClientSession, url: str, slug: str) -> None:
        self.session = session
        self.url = url
        self.path = f"/api/ingestion/shopify/{slug}/"

    async def post(
        self,
        body: bytes | AsyncIterator[bytes],
        headers: Mapping[str, str],
        *,
        path: str | None = None,
        method: str = "POST",
    ) -> Answer:
        """Send a request as it is given, follow nothing, and check the answer's manners."""
        async with self.session.request(
            method,
            URL(self.url + (path or self.path), encoded=True),
            headers=headers,
            data=io.BytesIO(body) if isinstance(body, bytes) else body,
            allow_redirects=False,
        ) as answer:
            result = Answer(status=answer.status, headers=answer.headers, body=await answer.read())
        check_manners(result)
        assert "Set-Cookie" not in result.headers
        return result

    async def deliver(
        self,
        topic: str,
        body: bytes,
        given: Mapping[str, str | None] | None = None,
        *,
        secret: str = SECRET,
    ) -> Answer:
        """Post one delivery."""
        return await self.post(body, headers(topic, body, given, secret=secret))

    async def send(self, number: int, given: Mapping[str, str | None] | None = None) -> Answer:
        """Post a sample of the reference."""
        return await self.deliver(*sample(number), given)


@asynccontextmanager
async def open_shop(url: str, slug: str) -> AsyncIterator[Shop]:
    """Open connections of a shop to the gateway at ``url``."""
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=30), skip_auto_headers=("Content-Type", "User-Agent")
    ) as session:
        yield Shop(session, url, slug)


@asynccontextmanager
async def shop_of(
    data_dir: Path, *, properties: Mapping[str, str] | None = None, **settings: object
) -> AsyncIterator[tuple[Shop, Gateway]]:
    """Run a gateway whose one tenant is a shop, until the block ends."""
    tenants = TenantsFile(data_dir / "tenants.toml")
    if TENANT not in tenants.directory.by_slug:
        tenants.add_tenant(TENANT)
    for name, value in {"shopify_secrets": SECRET, **(properties or {})}.items():
        tenants.set_value(TENANT, name, value)
    async with (
        running_gateway(data_dir, **settings) as gateway,
        open_shop(gateway.url, TENANT) as shop,
    ):
        yield shop, gateway


def assert_kept(answer: Answer) -> None:
    """Check that a delivery was queued, exactly as the reference says."""
    assert (answer.status, answer.body) == (200, b'{"queued":true}'), answer


def assert_not_kept(answer: Answer, reason: str) -> None:
    """Check that a delivery was taken but not queued."""
    assert (answer.status, answer.json) == (200, {"queued": False, "reason": reason}), answer
