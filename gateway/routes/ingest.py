"""``POST /api/ingestion/track`` and ``track/batch``: from a request to durable events.

The order of checks is the order in which a request costs something: credential, room, headers,
body, JSON, each event, and at last the queue (reference, "HTTP behaviour").
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs
from aiohttp.web import BaseRequest

from gateway.body import check_headers, read_body, send_continue
from gateway.core.answers import Answer, deny, queued_batch, queued_one, refused, unavailable
from gateway.core.auth import Denied, TokenKeys, authenticate_ingest
from gateway.dispatch import Exchange, Route
from gateway.publisher import Publisher, Unstored
from gateway.rejections import Rejections
from gateway.sources.segops import parse_batch, parse_track
from gateway.stamps import Stamps
from sluice.core.envelope import Rows, encode
from sluice.core.errors import ErrorType, Rejected
from sluice.core.event import Candidates, stamp, stamp_batch
from sluice.core.tenant import Directory, Tenant
from sluice.telemetry import EVENTS_ACCEPTED, EVENTS_NORMALISED, EVENTS_REJECTED

TRACK: Final = "track"
BATCH: Final = "batch"
MAX_BODY_BYTES: Final = 5_242_880
MAX_KEY_CHARS: Final = 128
CHALLENGE: Final = 'ApiKey realm="sluice", Bearer realm="sluice"'
UNKNOWN_SIZE: Final = 65_536
"""What a body without a length is expected to need, when room is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingest:
    """The two handlers and what they need."""

    directory: Callable[[], Directory]
    token_keys: Callable[[], TokenKeys]
    publisher: Publisher
    rejections: Rejections
    stamps: Stamps
    body_timeout_s: float

    def routes(self) -> list[Route]:
        """Return the routes of this resource."""
        return [
            Route(name="track", path="/api/ingestion/track", handlers={hdrs.METH_POST: self.track}),
            Route(
                name="track_batch",
                path="/api/ingestion/track/batch",
                handlers={hdrs.METH_POST: self.batch},
            ),
        ]

    async def track(self, exchange: Exchange) -> Answer:
        """Queue one event."""
        exchange.source = TRACK
        admitted = await self._admit(exchange)
        if isinstance(admitted, Answer):
            return admitted
        tenant, body, key = admitted
        parsed = parse_track(body, strict=tenant.strict_event_types, idempotency_key=key)
        if isinstance(parsed, list):
            return self._refused(exchange, parsed)
        event = stamp(
            parsed,
            tenant=tenant.slug,
            source=TRACK,
            received_at=self.stamps.received_at(),
            new_id=self.stamps.new_id(),
        )
        unstored = await self.publisher.publish(encode("events", (event,)))
        if unstored is not None:
            return _unstored(exchange, unstored)
        EVENTS_ACCEPTED.add(1, TRACK)
        for reason in parsed.normalised:
            EVENTS_NORMALISED.add(1, reason)
        return queued_one(event.event_id)

    async def batch(self, exchange: Exchange) -> Answer:
        """Queue the good events of a batch; say which were skipped and why."""
        exchange.source = BATCH
        admitted = await self._admit(exchange)
        if isinstance(admitted, Answer):
            return admitted
        tenant, body, key = admitted
        parsed = parse_batch(body, strict=tenant.strict_event_types, idempotency_key=key)
        if isinstance(parsed, Rejected):
            return self._refused(exchange, [parsed])
        accepted, rejected, normalised = len(parsed.candidates), parsed.rejected, parsed.normalised
        rows = self._rows(tenant, parsed.candidates)
        del body, admitted, parsed  # what waits for the disk needs only the rows
        if rows:
            unstored = await self.publisher.publish(rows)
            if unstored is not None:
                return _unstored(exchange, unstored)
            EVENTS_ACCEPTED.add(accepted, BATCH)
        for reason, count in normalised.items():
            EVENTS_NORMALISED.add(count, reason)
        self.rejections.record(tenant.slug, BATCH, rejected, exchange.request_id)
        return queued_batch(accepted, rejected)

    def _rows(self, tenant: Tenant, candidates: Candidates) -> list[Rows]:
        events = stamp_batch(
            candidates,
            tenant=tenant.slug,
            source=BATCH,
            received_at=self.stamps.received_at(),
            new_ids=self.stamps.new_ids(len(candidates)),
        )
        return encode("events", events)

    async def _admit(self, exchange: Exchange) -> tuple[Tenant, bytes, str | None] | Answer:
        request = exchange.request
        who = authenticate_ingest(
            request.headers.getall(hdrs.AUTHORIZATION, ()),
            self.directory(),
            self.token_keys(),
            now=time.time(),
        )
        if isinstance(who, Denied):
            return self._denied(exchange, who)
        exchange.tenant = who.tenant.slug
        length = request.content_length
        full = self.publisher.refuse(UNKNOWN_SIZE if length is None else length)
        if full is not None:
            return _unstored(exchange, full)
        wrong = check_headers(request)
        if wrong is not None:
            return self._refused(exchange, [wrong])
        key = _idempotency_key(request)
        if isinstance(key, Rejected):
            return self._refused(exchange, [key])
        if hdrs.EXPECT in request.headers:
            send_continue(request)
        body = await read_body(request, max_bytes=MAX_BODY_BYTES, timeout_s=self.body_timeout_s)
        if isinstance(body, Rejected):
            return self._refused(exchange, [body])
        return who.tenant, body, key

    def _refused(self, exchange: Exchange, rejected: list[Rejected]) -> Answer:
        self.rejections.record(exchange.tenant, exchange.source, rejected, exchange.request_id)
        return refused(rejected)

    def _denied(self, exchange: Exchange, denied: Denied) -> Answer:
        exchange.tenant = denied.tenant
        self.rejections.record(
            denied.tenant, exchange.source, [denied.rejected], exchange.request_id
        )
        return deny(denied.rejected, challenge=CHALLENGE)


def _unstored(exchange: Exchange, unstored: Unstored) -> Answer:
    EVENTS_REJECTED.add(1, exchange.source, unstored.error_type)
    return unavailable(unstored.error_type, unstored.detail, retry_after_s=unstored.retry_after_s)


def _idempotency_key(request: BaseRequest) -> str | Rejected | None:
    values = request.headers.getall("Idempotency-Key", ())
    if not values:
        return None
    key = values[0]
    is_visible = key.isascii() and key.isprintable() and " " not in key
    if len(values) > 1 or not 1 <= len(key) <= MAX_KEY_CHARS or not is_visible:
        return Rejected(
            ErrorType.IDEMPOTENCY_KEY_INVALID,
            "The Idempotency-Key header must be 1 to 128 visible ASCII characters.",
        )
    return key
