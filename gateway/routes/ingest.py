"""``POST /api/ingestion/track`` and ``track/batch``: from a request to durable events.

The order of checks is the order in which a request costs something: credential, room, headers,
body, JSON, each event, and at last the queue (reference, "HTTP behaviour").
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiohttp import hdrs
from aiohttp.web import BaseRequest

from gateway.body import check_headers, read_body, send_continue
from gateway.core.answers import (
    Answer,
    deny,
    queued_batch,
    queued_one,
    refused,
    slow_down,
    unavailable,
)
from gateway.core.auth import (
    SESSION_PARAMETER,
    Denied,
    Principal,
    TokenKeys,
    authenticate_ingest,
    bearer_in_query,
)
from gateway.core.limits import RateLimits, Spender
from gateway.core.origins import is_allowed
from gateway.dispatch import Exchange, Route
from gateway.group import Unstored
from gateway.publisher import Publisher
from gateway.rejections import Rejections
from gateway.room import MAX_AWAITED_BYTES, TOO_MANY, NoRoomError, Room
from gateway.sources.segops import parse_batch, parse_track
from gateway.stamps import Stamps
from sluice.core.envelope import Rows, encode
from sluice.core.errors import ErrorType, Rejected
from sluice.core.event import Candidates, stamp, stamp_batch
from sluice.core.tenant import Directory
from sluice.telemetry import EVENTS_ACCEPTED, EVENTS_NORMALISED, EVENTS_REJECTED, tenant_label

TRACK: Final = "track"
TRACK_PATH: Final = "/api/ingestion/track"
BATCH: Final = "batch"
TRACK_BATCH: Final = "track_batch"
"""The name of the route; that of the way in is ``batch``."""
BATCH_PATH: Final = f"{TRACK_PATH}/batch"
MAX_BODY_BYTES: Final = 5_242_880
MAX_KEY_CHARS: Final = 128
CHALLENGE: Final = 'ApiKey realm="sluice", Bearer realm="sluice"'
FOREIGN_ORIGIN: Final = Rejected(
    ErrorType.ORIGIN_NOT_ALLOWED, "This origin is not on the key's list."
)
UNKNOWN_SIZE: Final = 65_536
"""What a body without a length is expected to need, when room is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingest:
    """The two handlers and what they need."""

    directory: Callable[[], Directory]
    token_keys: Callable[[], TokenKeys]
    session_secret: str = field(repr=False)
    limits: RateLimits
    monotonic: Callable[[], float]
    publisher: Publisher
    rejections: Rejections
    stamps: Stamps
    body_timeout_s: float
    awaited: Room = field(default_factory=lambda: Room(MAX_AWAITED_BYTES))
    """For bodies whose rest is on its way."""

    def routes(self) -> list[Route]:
        """Return the routes of this resource."""
        return [
            Route(
                name="track",
                path=TRACK_PATH,
                handlers={hdrs.METH_POST: self.track},
                origins=self._origins,
            ),
            Route(
                name=TRACK_BATCH,
                path=BATCH_PATH,
                handlers={hdrs.METH_POST: self.batch},
                origins=self._origins,
            ),
        ]

    async def track(self, exchange: Exchange) -> Answer:
        """Queue one event."""
        exchange.source = TRACK
        admitted = await self._admit(exchange)
        if isinstance(admitted, Answer):
            return admitted
        who, body, key = admitted
        tenant = who.tenant
        parsed = parse_track(
            body, strict=tenant.strict_event_types, idempotency_key=key, uid=who.uid
        )
        if isinstance(parsed, list):
            return self._refused(exchange, parsed, who)
        if tenant.has_limits:
            wait_s = self.limits.take(_spenders(who), 1, self.monotonic())
            if wait_s:
                return self._limited(exchange, who, wait_s)
        event = stamp(
            parsed,
            tenant=tenant.slug,
            source=TRACK,
            received_at=self.stamps.received_at(),
            new_id=self.stamps.new_id(),
            owner=who.uid,
        )
        unstored = await self.publisher.publish(encode("events", (event,)), trace=exchange.trace)
        if unstored is not None:
            return _unstored(exchange, unstored)
        EVENTS_ACCEPTED.add(1, TRACK, tenant_label(tenant.slug))
        for reason in parsed.normalised:
            EVENTS_NORMALISED.add(1, reason)
        return queued_one(event.event_id)

    async def batch(self, exchange: Exchange) -> Answer:
        """Queue the good events of a batch; say which were skipped and why."""
        exchange.source = BATCH
        admitted = await self._admit(exchange)
        if isinstance(admitted, Answer):
            return admitted
        who, body, key = admitted
        tenant = who.tenant
        parsed = parse_batch(
            body, strict=tenant.strict_event_types, idempotency_key=key, uid=who.uid
        )
        if isinstance(parsed, Rejected):
            return self._refused(exchange, [parsed], who)
        if tenant.has_limits:
            wait_s = self.limits.take(_spenders(who), parsed.total, self.monotonic())
            if wait_s:
                return self._limited(exchange, who, wait_s, events=parsed.total)
        accepted, rejected, normalised = len(parsed.candidates), parsed.rejected, parsed.normalised
        candidates = parsed.candidates
        del body, admitted, parsed  # what waits for the disk is only the rows
        if accepted:
            publishing = self.publisher.publish(self._rows(who, candidates), trace=exchange.trace)
            del candidates
            unstored = await publishing
            if unstored is not None:
                return _unstored(exchange, unstored)
            EVENTS_ACCEPTED.add(accepted, BATCH, tenant_label(tenant.slug))
        for reason, count in normalised.items():
            EVENTS_NORMALISED.add(count, reason)
        self.rejections.record(tenant.slug, BATCH, rejected, exchange.request_id)
        return queued_batch(accepted, rejected)

    def _rows(self, who: Principal, candidates: Candidates) -> list[Rows]:
        events = stamp_batch(
            candidates,
            tenant=who.tenant.slug,
            source=BATCH,
            received_at=self.stamps.received_at(),
            new_ids=self.stamps.new_ids(len(candidates)),
            owner=who.uid,
        )
        return encode("events", events)

    async def _admit(self, exchange: Exchange) -> tuple[Principal, bytes, str | None] | Answer:
        request = exchange.request
        headers: Sequence[str] = request.headers.getall(hdrs.AUTHORIZATION, ())
        is_beacon = not headers and SESSION_PARAMETER in request.raw_path
        who = self._authenticate(request, headers, is_beacon=is_beacon)
        if isinstance(who, Denied):
            return self._denied(exchange, who)
        exchange.tenant = who.tenant.slug
        if who.uid is not None or who.tenant.has_limits:
            stopped = self._judge_client(exchange, who)
            if stopped is not None:
                return stopped
        length = request.content_length
        full = self.publisher.refuse(UNKNOWN_SIZE if length is None else length)
        if full is not None:
            return _unstored(exchange, full)
        wrong = check_headers(request, may_be_text=is_beacon)
        if wrong is not None:
            return self._refused(exchange, [wrong])
        key = _idempotency_key(request)
        if isinstance(key, Rejected):
            return self._refused(exchange, [key])
        body = await self._read(request)
        if body is None:
            return _unstored(exchange, TOO_MANY)
        if isinstance(body, Rejected):
            return self._refused(exchange, [body], who)
        return who, body, key

    async def _read(self, request: BaseRequest) -> bytes | Rejected | None:
        """Return the body; None: more of it is to be waited for than there is room for."""
        if request.content.is_eof():
            if hdrs.CONTENT_ENCODING not in request.headers:  # nothing is waited for
                return await read_body(
                    request, max_bytes=MAX_BODY_BYTES, timeout_s=self.body_timeout_s
                )
        elif self.awaited.is_full:
            return None
        if hdrs.EXPECT in request.headers:
            send_continue(request)
        try:
            with self.awaited.hold() as held:
                return await read_body(
                    request, max_bytes=MAX_BODY_BYTES, timeout_s=self.body_timeout_s, held=held
                )
        except NoRoomError:
            return None

    def _authenticate(
        self, request: BaseRequest, headers: Sequence[str], *, is_beacon: bool
    ) -> Principal | Denied:
        if is_beacon:
            found = bearer_in_query(request.rel_url.query.getall(SESSION_PARAMETER, ()))
            if isinstance(found, Denied):
                return found
            headers = found
        return authenticate_ingest(
            headers, self.directory(), self.token_keys(), self.session_secret, now=time.time()
        )

    def _origins(self) -> Collection[str]:
        return self.directory().origins

    def _judge_client(self, exchange: Exchange, who: Principal) -> Answer | None:
        """Return the refusal of a page that the session's key does not allow, or of one too many.

        A beacon is sent without asking first, so the token alone would do, wherever it came from.
        """
        if who.uid is not None:
            allowed = () if who.key is None else who.key.allowed_origins
            exchange.origins = allowed
            origin = exchange.request.headers.get(hdrs.ORIGIN)
            if origin is not None and not is_allowed(origin, allowed):
                return self._refused(exchange, [FOREIGN_ORIGIN])
        if who.tenant.has_limits:
            wait_s = self.limits.wait_s(_spenders(who), self.monotonic())
            if wait_s:
                return self._limited(exchange, who, wait_s)
        return None

    def _limited(
        self, exchange: Exchange, who: Principal, wait_s: float, *, events: int = 1
    ) -> Answer:
        tenant = who.tenant
        remedy = "retry after the time given"
        detail = f"This key may send {tenant.key_events_per_s} events a second"
        if who.uid is not None and tenant.session_events_per_s:
            session = _session_of("", who.uid, tenant.session_events_per_s)
            detail = (
                f"This session may send {session.events_per_s} events a second,"
                f" and {session.at_once} at once"
            )
            if events > session.at_once:  # no waiting lets it through
                remedy = f"{remedy}, in smaller batches: this one has {events}"
            if tenant.key_events_per_s:
                detail += f"; all of its key may send {tenant.key_events_per_s} a second"
        rejected = Rejected(ErrorType.RATE_LIMITED, f"{detail}; {remedy}.")
        self.rejections.record(tenant.slug, exchange.source, [rejected], exchange.request_id)
        return slow_down(rejected, retry_after_s=wait_s)

    def _refused(
        self, exchange: Exchange, rejected: list[Rejected], who: Principal | None = None
    ) -> Answer:
        """Refuse a request; who had its body read pays for one event, or bad ones were free."""
        if who is not None and who.tenant.has_limits:
            self.limits.take(_spenders(who), 1, self.monotonic())
        self.rejections.record(exchange.tenant, exchange.source, rejected, exchange.request_id)
        return refused(rejected)

    def _denied(self, exchange: Exchange, denied: Denied) -> Answer:
        exchange.tenant = denied.tenant
        if not denied.is_secret:
            key = denied.key
            exchange.origins = self._origins() if key is None else key.allowed_origins
        self.rejections.record(
            denied.tenant, exchange.source, [denied.rejected], exchange.request_id
        )
        return deny(denied.rejected, challenge=CHALLENGE)


def _spenders(who: Principal) -> list[Spender]:
    """Return whom the tenant's limits hold for: the key, and a user's sessions of it together."""
    tenant, key = who.tenant, who.key
    digest = "" if key is None else key.digest
    spenders = []
    if tenant.key_events_per_s:
        spenders.append(Spender(digest, tenant.key_events_per_s))
    if tenant.session_events_per_s and who.uid is not None:
        spenders.append(_session_of(digest, who.uid, tenant.session_events_per_s))
    return spenders


def _session_of(digest: str, uid: str, events_per_s: int) -> Spender:
    return Spender(f"{digest} user {uid}", events_per_s, may_owe=False)


def _unstored(exchange: Exchange, unstored: Unstored) -> Answer:
    return unstored_answer(exchange.source, unstored)


def unstored_answer(source: str, unstored: Unstored) -> Answer:
    """Return the answer to a request whose events are not durable, and count it."""
    EVENTS_REJECTED.add(1, source, unstored.error_type)
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
