"""``POST /api/ingestion/shopify/{tenant}``: from a delivery to a durable event, or a run.

The order of checks is that of reference/shopify.md, 5: tenant, secrets, signature header, body,
signature, shop, and only then anything of what the delivery says. What no retry can mend is
answered 200 with ``queued`` false, since eight failures in a row cost a shop its subscription.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import msgspec
from aiohttp import hdrs
from aiohttp.web import BaseRequest

from gateway.body import send_continue
from gateway.core.answers import Answer, deny, ok, refused, unavailable
from gateway.dispatch import Exchange, Route, last_segment
from gateway.group import DEFAULT_RETRY_AFTER_S, Unstored
from gateway.publisher import Publisher
from gateway.rejections import Rejections
from gateway.room import TOO_MANY, Held, NoRoomError, Room
from gateway.run_commands import RunCommands
from gateway.signed_body import Bounds, Signed, read_signed
from gateway.sources.shopify import (
    MAX_BODY_BYTES,
    MAX_HASHED_BYTES,
    SHOP_DOMAIN,
    SIGNATURE,
    SOURCE,
    Read,
    header,
    is_domain,
    read,
)
from gateway.sources.shopify_evidence import cause_of
from gateway.sources.shopify_privacy import PrivacyRequest, run_of
from gateway.stamps import Stamps
from sluice.core.envelope import encode
from sluice.core.errors import ErrorType, Rejected
from sluice.core.event import stamp
from sluice.core.tenant import Directory, Tenant
from sluice.telemetry import EVENTS_ACCEPTED, EVENTS_NORMALISED, EVENTS_REJECTED, tenant_label
from sluice.workflows.core.runs import Start

PATH: Final = "/api/ingestion/shopify/{tenant}"
CHALLENGE: Final = 'Shopify-HMAC realm="sluice"'
BOUNDS: Final = Bounds(
    kept_bytes=MAX_BODY_BYTES,
    hashed_bytes=MAX_HASHED_BYTES,
    timeout_s=3.0,  # Shopify waits for 5 seconds in all (reference, 1.3)
)
INLINE_BYTES: Final = 65_536
"""A longer body is read in a thread: thousands of lines take longer than others should wait."""
EXAMINED_PER_S: Final = 5
"""Failed deliveries of a tenant whose cause is looked for, each second: it costs more than to
refuse them, and anybody can send them."""
EXAMINED_BYTES_PER_S: Final = 524_288
"""The same of all tenants together, in bytes of their bodies; the last may go beyond it."""
PREFIX: Final = "shopify_"


TOO_LATE: Final = Unstored(
    ErrorType.PUBLISH_TIMEOUT,
    "The request could not be stored durably in time; it may be sent again.",
    DEFAULT_RETRY_AFTER_S,
)


class NotQueued(msgspec.Struct, frozen=True):
    """The answer to a good delivery that is not kept."""

    queued: bool
    reason: str


@dataclass(slots=True)
class _Budget:
    """How many failed deliveries of each tenant were examined in this second, and how large."""

    second: int = 0
    size: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def allows(self, tenant: str, size: int) -> bool:
        second = int(time.monotonic())
        if second != self.second:
            self.second, self.size = second, 0
            self.counts.clear()
        count = self.counts.get(tenant, 0)
        if count >= EXAMINED_PER_S or self.size >= EXAMINED_BYTES_PER_S:
            return False
        self.counts[tenant] = count + 1
        self.size += size
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopifyRoutes:
    """The handler and what it needs."""

    directory: Callable[[], Directory]
    publisher: Publisher
    commands: RunCommands
    rejections: Rejections
    stamps: Stamps
    room: Room
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _budget: _Budget = field(default_factory=_Budget)

    def routes(self) -> list[Route]:
        """Return the routes of this source."""
        return [Route(name=SOURCE, path=PATH, handlers={hdrs.METH_POST: self.receive})]

    async def receive(self, exchange: Exchange) -> Answer:
        """Queue what a delivery becomes."""
        exchange.source = SOURCE
        until = time.monotonic() + BOUNDS.timeout_s
        admitted = await self._admit(exchange)
        if isinstance(admitted, Answer):
            return admitted
        tenant, found = admitted
        if found.size > INLINE_BYTES:
            became = await asyncio.to_thread(_became, exchange.request, found, tenant)
        else:
            # What is proven in one turn of the loop is read in the next: one kind of work at a time
            # stays in the processor's caches, which saves more than the turn costs.
            await asyncio.sleep(0)
            became = _became(exchange.request, found, tenant)
        if isinstance(became, Rejected):
            return self._not_queued(exchange, became)
        if isinstance(became, PrivacyRequest):
            return await self._start(became, tenant, until)
        event = stamp(
            became,
            tenant=tenant.slug,
            source=SOURCE,
            received_at=self.stamps.received_at(),
            new_id="",  # it has one: its sender's, or that of its bytes
        )
        rows = encode("events", (event,))
        del found, admitted  # what waits for the disk needs only the rows
        unstored = await self.publisher.publish(
            rows, within_s=until - time.monotonic(), trace=exchange.trace
        )
        if unstored is not None:
            return _unstored(unstored)
        EVENTS_ACCEPTED.add(1, SOURCE, tenant_label(tenant.slug))
        for reason in became.normalised:
            EVENTS_NORMALISED.add(1, reason)
        return _queued("X-Event-Id", event.event_id)

    async def _start(self, request: PrivacyRequest, tenant: Tenant, until: float) -> Answer:
        """Ask for the run of a privacy request; no worker has to be there."""
        run = run_of(request, tenant, now=self.now())
        try:
            async with asyncio.timeout(until - time.monotonic()):
                unstored = await self.commands.publish(Start(run))
        except TimeoutError:
            unstored = TOO_LATE
        return _queued("X-Run-Id", run.run_id) if unstored is None else _unstored(unstored)

    async def _admit(self, exchange: Exchange) -> tuple[Tenant, Signed] | Answer:
        """Return whose delivery it is and its body, proven; or the answer to another."""
        request = exchange.request
        tenant = self._tenant(exchange)
        if isinstance(tenant, Answer):
            return tenant
        signature = request.headers.get(SIGNATURE)
        if signature is None:
            detail = (
                "The X-Shopify-Hmac-SHA256 header is missing; Events deliveries"
                " (Shopify-Hmac-Sha256) are not supported."
            )
            return self._denied(exchange, ErrorType.SHOPIFY_SIGNATURE_MISSING, detail)
        full = self.publisher.refuse(min(request.content_length or 0, MAX_BODY_BYTES))
        if full is None and self.room.is_full:
            full = TOO_MANY
        if full is not None:
            return _unstored(full)
        if hdrs.EXPECT in request.headers:
            send_continue(request)
        try:
            with self.room.hold() as held:
                found = await self._prove(exchange, tenant, signature, held)
        except NoRoomError:
            return _unstored(TOO_MANY)
        if isinstance(found, Answer):
            return found
        pinned = tenant.shopify_shop_domains
        shop = header(request.headers, SHOP_DOMAIN).lower()
        if pinned and shop not in pinned:
            detail = "The delivery is for another shop than this tenant's"
            detail += f": {shop}." if is_domain(shop) else "."
            return self._denied(exchange, ErrorType.SHOPIFY_SHOP_MISMATCH, detail)
        return tenant, found

    async def _prove(
        self, exchange: Exchange, tenant: Tenant, signature: str, held: Held
    ) -> Signed | Answer:
        """Return a body that the tenant's secret signed; or the answer to another."""
        secrets = tenant.shopify_secrets
        found = await read_signed(exchange.request, signature, secrets, BOUNDS, held)
        if isinstance(found, Rejected):
            return self._unread(exchange, found)
        if not found.is_signed:
            return await self._forged(exchange, tenant, signature, found)
        return found

    def _tenant(self, exchange: Exchange) -> Tenant | Answer:
        tenant = self.directory().by_slug.get(last_segment(exchange))
        if tenant is None:
            return self._refused(exchange, ErrorType.NOT_FOUND, "There is no such tenant.")
        exchange.tenant = tenant.slug
        if not tenant.enabled:
            return self._refused(
                exchange, ErrorType.TENANT_DISABLED, "This tenant is switched off."
            )
        if not tenant.shopify_secrets:
            detail = "This tenant has no Shopify secret; set one with `sluice tenant set`."
            return self._denied(exchange, ErrorType.SHOPIFY_NOT_CONFIGURED, detail)
        return tenant

    async def _forged(
        self, exchange: Exchange, tenant: Tenant, signature: str, found: Signed
    ) -> Answer:
        number = len(tenant.shopify_secrets)
        secrets = "1 secret" if number == 1 else f"{number} secrets"
        detail = f"The signature matches none of this tenant's {secrets}."
        noted = detail
        if found.body is not None and self._budget.allows(tenant.slug, found.size):
            cause = await asyncio.to_thread(cause_of, signature, found.body, tenant.shopify_secrets)
            noted = f"{detail} {cause}" if cause else detail
        wrong = ErrorType.SHOPIFY_SIGNATURE_INVALID
        self.rejections.record(
            exchange.tenant, SOURCE, [Rejected(wrong, noted)], exchange.request_id
        )
        return deny(Rejected(wrong, detail), challenge=CHALLENGE)

    def _denied(self, exchange: Exchange, error_type: ErrorType, detail: str) -> Answer:
        rejected = Rejected(error_type, detail)
        self.rejections.record(exchange.tenant, SOURCE, [rejected], exchange.request_id)
        return deny(rejected, challenge=CHALLENGE)

    def _refused(self, exchange: Exchange, error_type: ErrorType, detail: str) -> Answer:
        rejected = Rejected(error_type, detail)
        self.rejections.record(exchange.tenant, SOURCE, [rejected], exchange.request_id)
        return refused([rejected])

    def _unread(self, exchange: Exchange, rejected: Rejected) -> Answer:
        # Anybody can send a body that is too large or ends early: counted, but no record.
        self.rejections.record(None, SOURCE, [rejected], exchange.request_id)
        return refused([rejected])

    def _not_queued(self, exchange: Exchange, rejected: Rejected) -> Answer:
        self.rejections.record(exchange.tenant, SOURCE, [rejected], exchange.request_id)
        reason = rejected.error_type.removeprefix(PREFIX)
        answer = ok(NotQueued(queued=False, reason=reason))
        return msgspec.structs.replace(answer, error_type=rejected.error_type)


def _became(request: BaseRequest, found: Signed, tenant: Tenant) -> Read:
    if found.body is not None:
        return read(request.headers, found.body, tenant)
    detail = f"The body has {found.size} bytes; {MAX_BODY_BYTES} are kept."
    return Rejected(ErrorType.SHOPIFY_BODY_TOO_LARGE, detail)


def _queued(name: str, value: str) -> Answer:
    return Answer(200, b'{"queued":true}', headers=((name, value),))


def _unstored(unstored: Unstored) -> Answer:
    EVENTS_REJECTED.add(1, SOURCE, unstored.error_type)
    return unavailable(unstored.error_type, unstored.detail, retry_after_s=unstored.retry_after_s)
