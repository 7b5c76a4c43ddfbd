"""Who may read: the tenant of a read token, or the answer that refuses it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs

from gateway.core.answers import Answer, deny
from gateway.core.auth import Denied, TokenKeys, authenticate_read
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
        who = authenticate_read(
            exchange.request.headers.getall(hdrs.AUTHORIZATION, ()),
            self.directory(),
            self.token_keys(),
            now=time.time(),
        )
        if not isinstance(who, Denied):
            exchange.tenant = who.tenant.slug
            return who.tenant
        if who.rejected.error_type is ErrorType.TOKEN_INVALID:
            self.ask_for_keys()
        self.rejections.record(who.tenant, SOURCE, [who.rejected], exchange.request_id)
        return deny(who.rejected, challenge=CHALLENGE)
