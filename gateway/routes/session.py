"""``POST /api/auth/session``: a public key and who is there -> a token that writes as that user.

The order of checks is that of the other routes: credential, page, limit, headers, body, fields,
proof.
"""

import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from aiohttp import hdrs

from gateway.body import check_headers, read_body
from gateway.core.answers import Answer, deny, ok, refused, slow_down
from gateway.core.auth import Denied, authenticate_client
from gateway.core.limits import RateLimits, Spender
from gateway.core.origins import is_allowed
from gateway.core.session import Ask, mint, open_session, read_ask
from gateway.dispatch import Exchange, Route
from gateway.rejections import Rejections
from gateway.routes.ingest import FOREIGN_ORIGIN
from gateway.stamps import Stamps
from sluice.core.errors import ErrorType, Rejected
from sluice.core.tenant import ApiKey, Directory, Tenant
from sluice.telemetry import SESSIONS_OPENED

SOURCE: Final = "session"
CHALLENGE: Final = 'ApiKey realm="sluice"'
MAX_ASK_BYTES: Final = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRoutes:
    """The handler and what it needs."""

    directory: Callable[[], Directory]
    session_secret: str = field(repr=False)
    limits: RateLimits
    monotonic: Callable[[], float]
    rejections: Rejections
    now: Callable[[], datetime]
    stamps: Stamps
    body_timeout_s: float

    def routes(self) -> list[Route]:
        """Return the routes of this resource."""
        return [
            Route(
                name="session",
                path="/api/auth/session",
                handlers={hdrs.METH_POST: self.open},
                origins=self._origins,
            )
        ]

    async def open(self, exchange: Exchange) -> Answer:
        """Answer with a token for the user whom the client names, or for a visitor."""
        exchange.source = SOURCE
        headers = exchange.request.headers.getall(hdrs.AUTHORIZATION, ())
        who = authenticate_client(headers, self.directory())
        if isinstance(who, Denied):
            return self._denied(exchange, who)
        tenant, key = who
        exchange.tenant = tenant.slug
        exchange.origins = key.allowed_origins
        origin = exchange.request.headers.get(hdrs.ORIGIN)
        if origin is not None and not is_allowed(origin, key.allowed_origins):
            return self._refused(exchange, [FOREIGN_ORIGIN])
        limited = self._limited(exchange, tenant, key)
        if limited is not None:
            return limited
        asked = await self._read(exchange)
        if isinstance(asked, list):
            return self._refused(exchange, asked)
        now = self.now().timestamp()
        session = open_session(asked, key, now=now, new_visitor=str(uuid.uuid4()))
        if isinstance(session, Rejected):
            return self._refused(exchange, [session])
        SESSIONS_OPENED.add(1, "yes" if session.is_verified else "no")
        return ok(
            mint(
                session,
                tenant,
                key,
                secret=self.session_secret,
                now=now,
                new_id=self.stamps.new_id(),
            )
        )

    def _limited(self, exchange: Exchange, tenant: Tenant, key: ApiKey) -> Answer | None:
        """Return the refusal of one session too many.

        They are counted apart from the key's events: whoever asks for session after session does
        not silence those that are open.
        """
        rate = tenant.key_events_per_s
        if not rate:
            return None
        spender = Spender(f"{key.digest} opens", rate)
        wait_s = self.limits.take([spender], 1, self.monotonic())
        if not wait_s:
            return None
        detail = f"This key may open {rate} sessions a second; retry after the time given."
        rejected = Rejected(ErrorType.RATE_LIMITED, detail)
        self.rejections.record(tenant.slug, SOURCE, [rejected], exchange.request_id)
        return slow_down(rejected, retry_after_s=wait_s)

    async def _read(self, exchange: Exchange) -> Ask | list[Rejected]:
        request = exchange.request
        wrong = check_headers(request)
        if wrong is not None:
            return [wrong]
        body = await read_body(request, max_bytes=MAX_ASK_BYTES, timeout_s=self.body_timeout_s)
        return [body] if isinstance(body, Rejected) else read_ask(body)

    def _origins(self) -> Collection[str]:
        return self.directory().origins

    def _refused(self, exchange: Exchange, rejected: list[Rejected]) -> Answer:
        self.rejections.record(exchange.tenant, SOURCE, rejected, exchange.request_id)
        return refused(rejected)

    def _denied(self, exchange: Exchange, denied: Denied) -> Answer:
        exchange.tenant = denied.tenant
        if not denied.is_secret:
            key = denied.key
            exchange.origins = self._origins() if key is None else key.allowed_origins
        self.rejections.record(denied.tenant, SOURCE, [denied.rejected], exchange.request_id)
        return deny(denied.rejected, challenge=CHALLENGE)
