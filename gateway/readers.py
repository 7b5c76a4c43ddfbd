"""Who may read: the tenant of a read token, or the answer that refuses it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs

from gateway.core.answers import Answer, deny
from gateway.core.auth import (
    Denied,
    Principal,
    Runner,
    TokenKeys,
    authenticate_read,
    authenticate_run,
)
from gateway.dispatch import Exchange
from gateway.rejections import Rejections
from sluice.core.errors import ErrorType
from sluice.core.tenant import Directory, Tenant

SOURCE: Final = "read"
CHALLENGE: Final = 'Bearer realm="sluice"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Readers:
    """Authenticates what reads."""

    directory: Callable[[], Directory]
    token_keys: Callable[[], TokenKeys]
    ask_for_keys: Callable[[], None]
    rejections: Rejections

    def of(self, exchange: Exchange) -> Tenant | Answer:
        """Return whose data may be read; what is refused leaves a record of its tenant."""
        who = self.reader_of(exchange)
        return who if isinstance(who, Answer) else who.tenant

    def reader_of(self, exchange: Exchange) -> Principal | Answer:
        """Return who reads, with the end of the token; refusals as in ``of``."""
        who = authenticate_read(
            exchange.request.headers.getall(hdrs.AUTHORIZATION, ()),
            self.directory(),
            self.token_keys(),
            now=time.time(),
        )
        if isinstance(who, Denied):
            return self._denied(exchange, who)
        exchange.tenant = who.tenant.slug
        return who

    def runner_of(self, exchange: Exchange, scope: str) -> Runner | Answer:
        """Return who asks for runs with a token of this scope; refusals as in ``of``."""
        who = authenticate_run(
            exchange.request.headers.getall(hdrs.AUTHORIZATION, ()),
            self.directory(),
            self.token_keys(),
            now=time.time(),
            scope=scope,
        )
        if isinstance(who, Denied):
            return self._denied(exchange, who)
        exchange.tenant = who.tenant.slug
        return who

    def _denied(self, exchange: Exchange, denied: Denied) -> Answer:
        if denied.rejected.error_type is ErrorType.TOKEN_INVALID:
            self.ask_for_keys()
        self.rejections.record(denied.tenant, SOURCE, [denied.rejected], exchange.request_id)
        return deny(denied.rejected, challenge=CHALLENGE)
