"""Every inbound source on its own paths: read, ask the source, publish, answer in its words.

Load is shed before anything of a request is read, because several client libraries ignore
``Retry-After`` and come back within 0.1 s. A credential in the headers is judged before the body is
read, and so is the limit of its key; one inside the body cannot be, but no event of a key over its
limit is looked at. 200 goes out only when the events are durable.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from aiohttp import hdrs

from gateway.body import check_encoding, read_body, send_continue
from gateway.core.answers import Answer
from gateway.core.auth import Denied
from gateway.core.limits import RateLimits, Spender
from gateway.core.source import Arrival, Caller, Parsed, Refused, Source, SourceRoute, Taken
from gateway.dispatch import Exchange, Route, last_segment
from gateway.group import Unstored
from gateway.publisher import Publisher
from gateway.rejections import Rejections
from gateway.room import MAX_AWAITED_BYTES, TOO_MANY, Held, NoRoomError, Room
from gateway.stamps import Stamps
from sluice.core.envelope import Rows, encode
from sluice.core.errors import ErrorType, Rejected
from sluice.core.event import Candidates, stamp_batch
from sluice.core.tenant import Directory, Tenant
from sluice.telemetry import EVENTS_ACCEPTED, EVENTS_NORMALISED, EVENTS_REJECTED, tenant_label

UNKNOWN_SIZE: Final = 65_536
"""What a body without a length is expected to need, when room is asked for."""
INLINE_BYTES: Final = 65_536
"""A longer body is parsed in a thread, also for the key in it: thousands of events take longer than
others should wait, and a few kilobytes of gzip hold as many."""
_NOBODY: Final = Denied(Rejected(ErrorType.AUTH_MISSING, "Send a credential."))


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRoutes:
    """The handlers of all sources and what they need."""

    sources: Sequence[Source]
    directory: Callable[[], Directory]
    publisher: Publisher
    rejections: Rejections
    stamps: Stamps
    body_timeout_s: float
    room: Room
    """For bodies of callers who have proven nothing yet."""
    awaited: Room = field(default_factory=lambda: Room(MAX_AWAITED_BYTES))
    """For those of others, whose rest is on its way."""
    limits: RateLimits
    monotonic: Callable[[], float]
    unix_s: Callable[[], float] = time.time

    def routes(self) -> list[Route]:
        """Return the routes of every source."""
        return [
            Route(
                name=route.name,
                path=route.path,
                handlers={route.method: partial(self._serve, source, route)},
                refuse=partial(_refuse, source),
            )
            for source in self.sources
            for route in source.routes
        ]

    async def _serve(self, source: Source, route: SourceRoute, exchange: Exchange) -> Answer:
        exchange.source = source.name
        arrival = Arrival(
            path=route.path,
            headers=exchange.request.headers,
            authorizations=exchange.request.headers.getall(hdrs.AUTHORIZATION, ()),
            now=self.unix_s(),
            tail=last_segment(exchange) if route.path.endswith("}") else "",
        )
        admitted = await self._admit(source, exchange, arrival)
        if isinstance(admitted, Refused):
            return source.refused(admitted)
        caller, arrival = admitted
        tenant = caller.tenant
        if len(arrival.body or b"") <= INLINE_BYTES:
            parsed = source.parse(arrival, tenant)
        else:
            parsed = await asyncio.to_thread(source.parse, arrival, tenant)
        if isinstance(parsed, Rejected):
            # One event is paid for a body that holds none, or bad ones were free.
            limited = self._limited(exchange, caller, charge=1)
            return source.refused(limited or self._refused(exchange, parsed))
        limited = self._limited(exchange, caller, charge=parsed.total)
        if limited is not None:
            return source.refused(limited)
        unstored = await self._publish(source, tenant, parsed, exchange)
        if unstored is not None:
            return source.refused(_unstored(exchange, unstored))
        self.rejections.record(tenant.slug, source.name, parsed.rejected, exchange.request_id)
        done = Taken(
            rejected=parsed.rejected,
            total=parsed.total,
            body_bytes=len(arrival.body or b""),
            received_ms=int(arrival.now * 1000),
        )
        return source.taken(arrival, done)

    async def _admit(
        self, source: Source, exchange: Exchange, arrival: Arrival
    ) -> tuple[Caller, Arrival] | Refused:
        request = exchange.request
        length = request.content_length
        full = self.publisher.refuse(UNKNOWN_SIZE if length is None else length)
        if full is not None:
            return _unstored(exchange, full)
        who = source.authenticate(arrival, self.directory())
        if isinstance(who, Denied):
            return self._denied(exchange, who)
        if isinstance(who, Caller):
            limited = self._enter(exchange, who)
            if limited is not None:
                return limited
            with self.awaited.hold() as held:
                body = await self._read(source, exchange, self.awaited, held)
            return body if isinstance(body, Refused) else (who, replace(arrival, body=body))
        return await self._admit_by_body(source, exchange, arrival)

    async def _admit_by_body(
        self, source: Source, exchange: Exchange, arrival: Arrival
    ) -> tuple[Caller, Arrival] | Refused:
        """Read the body of a caller who has proven nothing yet, as long as there is room for it."""
        with self.room.hold() as held:
            body = await self._read(source, exchange, self.room, held)
            if isinstance(body, Refused):
                return body
            arrival = replace(arrival, body=body)
            if len(body) <= INLINE_BYTES:
                who = source.authenticate(arrival, self.directory())
            else:
                who = await asyncio.to_thread(source.authenticate, arrival, self.directory())
        if not isinstance(who, Caller):
            return self._denied(exchange, who or _NOBODY)
        return self._enter(exchange, who) or (who, arrival)

    async def _read(
        self, source: Source, exchange: Exchange, room: Room, held: Held
    ) -> bytes | Refused:
        """Return the body, charged to ``held``, which is of ``room``."""
        request = exchange.request
        wrong = check_encoding(request)
        if wrong is not None:
            return self._refused(exchange, wrong)
        if room.is_full and (room is self.room or not request.content.is_eof()):
            return _unstored(exchange, TOO_MANY)
        send_continue(request)
        try:
            body = await read_body(
                request,
                max_bytes=source.max_body_bytes,
                timeout_s=self.body_timeout_s,
                held=held,
            )
        except NoRoomError:
            return _unstored(exchange, TOO_MANY)
        return self._refused(exchange, body) if isinstance(body, Rejected) else body

    def _enter(self, exchange: Exchange, caller: Caller) -> Refused | None:
        exchange.tenant = caller.tenant.slug
        return self._limited(exchange, caller)

    async def _publish(
        self, source: Source, tenant: Tenant, parsed: Parsed, exchange: Exchange
    ) -> Unstored | None:
        if not parsed.candidates:
            return None
        rows = self._rows(source, tenant, parsed.candidates)
        unstored = await self.publisher.publish(rows, trace=exchange.trace)
        if unstored is None:
            accepted = len(parsed.candidates)
            EVENTS_ACCEPTED.add(accepted, source.name, tenant_label(tenant.slug))
            for reason, count in parsed.candidates.count_normalised().items():
                EVENTS_NORMALISED.add(count, reason)
        return unstored

    def _rows(self, source: Source, tenant: Tenant, candidates: Candidates) -> list[Rows]:
        events = stamp_batch(
            candidates,
            tenant=tenant.slug,
            source=source.name,
            received_at=self.stamps.received_at(),
            new_ids=self.stamps.new_ids(len(candidates)),
        )
        return encode("events", events)

    def _limited(
        self, exchange: Exchange, caller: Caller, *, charge: int | None = None
    ) -> Refused | None:
        """Return the refusal of a key over its limit; charge one that is not for its events.

        What it sends here and to ``track`` counts together.
        """
        rate, key = caller.tenant.key_events_per_s, caller.key
        if not rate or key is None:
            return None
        spenders, now = [Spender(key.digest, rate)], self.monotonic()
        if charge is None:
            wait_s = self.limits.wait_s(spenders, now)
        else:
            wait_s = self.limits.take(spenders, charge, now)
        if not wait_s:
            return None
        detail = f"This key may send {rate} events a second; retry after the time given."
        refused = self._refused(exchange, Rejected(ErrorType.RATE_LIMITED, detail))
        return replace(refused, retry_after_s=wait_s)

    def _refused(self, exchange: Exchange, rejected: Rejected) -> Refused:
        self.rejections.record(exchange.tenant, exchange.source, [rejected], exchange.request_id)
        return Refused(rejected=rejected)

    def _denied(self, exchange: Exchange, denied: Denied) -> Refused:
        exchange.tenant = denied.tenant
        return self._refused(exchange, denied.rejected)


def _unstored(exchange: Exchange, unstored: Unstored) -> Refused:
    EVENTS_REJECTED.add(1, exchange.source, unstored.error_type)
    rejected = Rejected(unstored.error_type, unstored.detail)
    return Refused(rejected=rejected, retry_after_s=unstored.retry_after_s)


def _refuse(source: Source, rejected: Rejected, retry_after_s: float | None) -> Answer:
    return source.refused(Refused(rejected=rejected, retry_after_s=retry_after_s))
