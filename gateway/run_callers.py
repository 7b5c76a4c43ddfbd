"""Who asks for runs, how often, for which version: what all paths of the runs API check first."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.core.answers import Answer, refused, slow_down
from gateway.core.auth import Runner
from gateway.core.limits import RateLimits, Spender
from gateway.core.runs_query import Parameters, check_version, read_parameters
from gateway.dispatch import Exchange
from gateway.readers import Readers
from sluice.core.errors import ErrorType, Rejected

PER_SECOND: Final = 10
"""Requests of one tenant over all paths, in each gateway process; as many at once."""
TENANT_HEADER: Final = "amperity-tenant"
VERSION_HEADER: Final = "api-version"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and the parameters of the query."""

    runner: Runner
    parameters: Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCallers:
    """Lets callers in."""

    readers: Readers
    limits: RateLimits
    monotonic: Callable[[], float]

    def admit(self, exchange: Exchange, *, scope: str, names: frozenset[str]) -> Caller | Answer:
        """Return who asks, or the answer that refuses it.

        Args:
            exchange: The request.
            scope: What a token needs that has scopes.
            names: The parameters that this path knows.
        """
        runner = self.readers.runner_of(exchange, scope)
        if isinstance(runner, Answer):
            return runner
        slug = runner.tenant.slug
        spender = Spender(f"runs of {slug}", PER_SECOND, burst_s=1)
        wait_s = self.limits.take([spender], 1, self.monotonic())
        if wait_s:
            detail = f"A tenant may ask {PER_SECOND} times a second; wait, with some jitter."
            return slow_down(Rejected(ErrorType.RATE_LIMITED, detail), retry_after_s=wait_s)
        headers = exchange.request.headers
        if any(name != slug for name in headers.getall(TENANT_HEADER, ())):
            detail = f"{TENANT_HEADER} names another tenant than the token; leave it out."
            return refused([Rejected(ErrorType.TENANT_DENIED, detail)])
        query = exchange.request.raw_path.partition("?")[2]
        parameters = read_parameters(query, names)
        if isinstance(parameters, Rejected):
            return refused([parameters])
        wrong = check_version(parameters, headers.getall(VERSION_HEADER, ()))
        return Caller(runner, parameters) if wrong is None else refused([wrong])
