"""What every part of the fault tests ends with: the oracle's verdict on one tenant's events."""

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.faults.broker.stack import BrokerStack, Gateway
from tests.faults.oracle import Oracle, Verdict
from tests.faults.stored import Ledger
from tests.faults.traffic import Sender, client_session


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict, and what stats say."""

    verdict: Verdict
    rows: int
    """Events in ClickHouse."""
    stats_total: int

    @property
    def holds(self) -> bool:
        """Whether every promise was kept and stats count what is stored."""
        return self.verdict.holds and self.stats_total == self.rows

    def __str__(self) -> str:
        """Return the figures in a line."""
        verdict = self.verdict
        lost, doubled, smuggled = (
            f"{len(each)} {list(each[:5]) or ''}".strip()
            for each in (verdict.lost, verdict.doubled, verdict.smuggled)
        )
        return (
            f"sent {verdict.sent} accepted {verdict.accepted} refused {verdict.refused}"
            f" unanswered {verdict.unanswered} stored {self.rows} stats {self.stats_total}"
            f" lost {lost} doubled {doubled} smuggled {smuggled}"
        )


@dataclass(slots=True)
class Trial:
    """One tenant's clients and the judge of what became of their events."""

    sender: Sender
    ledger: Ledger
    _last: int = 0

    @property
    def oracle(self) -> Oracle:
        """What was promised."""
        return self.sender.oracle

    async def wait_until_visible(self, event_type: str) -> None:
        """Wait until all that was promised since the last call is stored; all has this type."""
        await self.ledger.wait_until_visible(self.oracle, event_type, after=self._last)
        self._last = self.oracle.highest

    async def judge(self) -> Outcome:
        """Compare what is stored with what was promised, and stats with both."""
        stored = await self.ledger.read()
        rows = sum(count for _, count in stored)
        return Outcome(self.oracle.judge(stored), rows, await self.ledger.wait_for_stats(rows))


@asynccontextmanager
async def trial(
    stack: BrokerStack, seed: int, *gateways: Gateway, connections: int = 256
) -> AsyncIterator[Trial]:
    """Make a tenant, whose clients send to these gateways, or to all of the stack's."""
    urls = [gateway.url for gateway in gateways] or stack.urls
    async with client_session(connections=connections) as session:
        tenant = await stack.new_tenant(session, *gateways)
        sender = Sender(
            session=session,
            urls=urls,
            api_key=tenant.api_key,
            oracle=Oracle(),
            chance=random.Random(seed),  # noqa: S311 - a seed names the run, it keeps no secret
            run=str(seed),
        )
        yield Trial(sender, stack.ledger(session, tenant, urls[0]))


class Report:
    """Lines for a person, and whether all is well."""

    def __init__(self, *, is_chatty: bool = False) -> None:
        self._lines: list[str] = []
        self._is_chatty = is_chatty
        self.is_well = True

    def say(self, name: str, text: object, *, is_well: bool = True) -> None:
        """Add a line; one that is not well says so."""
        mark = "" if is_well else "  <-- BROKEN"
        line = f"{name:20} {text}{mark}"
        self.is_well = self.is_well and is_well
        self._lines.append(line)
        if self._is_chatty:
            print(line, flush=True)  # noqa: T201 - the report of a command

    def __iter__(self) -> Iterator[str]:
        """Yield all lines."""
        return iter(self._lines)

    def __str__(self) -> str:
        """Return all lines."""
        return "\n".join(self._lines)
