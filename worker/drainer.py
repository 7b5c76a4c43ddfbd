"""Sends what is parked, as soon as whoever it waits for is due again; each tenant by itself.

Order of operations for a page of parked events: send, write the outcomes down, take them out of the
lot. A crash in between sends some again, with the same ``insert_id``.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, replace
from heapq import nsmallest
from typing import Final

from sluice.core.amplitude import AmplitudeConfig
from sluice.core.errors import WarehouseError
from sluice.core.outcomes import Fate
from sluice.logs import get_logger
from sluice.settings import Settings
from worker.core.amplitude_answers import DEFAULT_EPS
from worker.core.holds import EVERYBODY, Hold, Pauses, is_due, paced
from worker.core.lane import Settled
from worker.core.settling import Moment, UserHolds, by_hold, holds_of
from worker.erasures import Erasures
from worker.forwarder import Forwarder, jitter
from worker.ledger import Notes
from worker.lot import MAX_PAGE_BYTES, Lot, LotError
from worker.lot_rows import Parked
from worker.mapping import Mapping
from worker.troubles import Announcer
from worker.waiting import wait_for_event

LOOK_EVERY_S: Final = 0.2
PATIENCE_S: Final = 30.0
PAGE_EVENTS: Final = 4_000
PAGE_USERS: Final = 200
TRIAL_EVENTS: Final = 100
"""Sent first to a project that did not take anything lately."""
TRIAL_BYTES: Final = 256 * 1024
TRIALS_AT_ONCE: Final = 64
PAGES_AT_ONCE: Final = 8
"""Tenants whose pages are in memory. Trials have places of their own: they may hang for long, and
those of many tenants would keep the backlogs of others waiting."""
RETRY_S: Final = 1.0

log: Final = get_logger(__name__)


def pauses_of(settings: Settings) -> Pauses:
    """Return how long who waits, by the settings."""
    return Pauses(
        throttled_s=settings.amplitude_throttle_wait_s,
        quota_s=settings.amplitude_quota_wait_s,
        key_s=settings.amplitude_key_wait_s,
        project_s=settings.amplitude_throttle_wait_s,
    )


@dataclass(frozen=True, slots=True)
class _Page:
    """What of one tenant is tried next."""

    users: list[str] | None
    """Whose own holds have ended; None: what waits under the project's hold."""
    limit: int
    """How many events at most: of each user, or of all."""
    rows: list[Parked]


class Drainer:
    """Empties the lot."""

    def __init__(
        self,
        *,
        lot: Lot,
        forwarder: Forwarder,
        ledger: Notes,
        mapping: Mapping,
        pauses: Pauses,
        erasures: Erasures,
        announcer: Announcer,
    ) -> None:
        self._lot = lot
        self._announcer = announcer
        self._erasures = erasures
        self._forwarder = forwarder
        self._ledger = ledger
        self._mapping = mapping
        self._pauses = pauses
        self._eps: dict[str, int] = {}
        self._trials = asyncio.Semaphore(TRIALS_AT_ONCE)
        self._pages = asyncio.Semaphore(PAGES_AT_ONCE)

    async def run(self, stop: asyncio.Event) -> None:
        """Send what is due until ``stop``; what is on its way then is sent again later."""
        draining: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            while not stop.is_set():
                for tenant in list(self._lot.holds):
                    running = draining.get(tenant)
                    if (running is None or running.done()) and self._is_due(tenant):
                        name = f"drain:{tenant}"
                        draining[tenant] = tasks.create_task(self._drain(tenant, stop), name=name)
                await wait_for_event(stop, LOOK_EVERY_S)
            for running in draining.values():
                running.cancel()

    def _is_due(self, tenant: str) -> bool:
        holds = self._lot.holds.get(tenant, {})
        project = holds.get(EVERYBODY)
        now = time.time()
        if project is not None:
            return project.has_rows and is_due(project, now=now, pauses=self._pauses)
        return bool(self._due_users(tenant, 1))

    def _due_users(self, tenant: str, limit: int) -> list[str]:
        """Return the users whose own hold has ended, the longest ended first."""
        holds = self._lot.holds.get(tenant, {})
        now = time.time()
        due = (
            user
            for user, hold in holds.items()
            if user != EVERYBODY and is_due(hold, now=now, pauses=self._pauses)
        )
        return nsmallest(limit, due, key=lambda user: holds[user].until)

    async def _drain(self, tenant: str, stop: asyncio.Event) -> None:
        while not stop.is_set() and self._is_due(tenant):
            config = self._mapping.config(tenant)
            try:
                if config is None:
                    await self._wait_for_key(tenant)
                    return
                await self._ledger.flush()  # what an earlier failure left; before more is sent
                await self._one_turn(tenant, config)
            except (WarehouseError, LotError) as error:
                log.debug("Parked events cannot be settled", detail=str(error))
                await wait_for_event(stop, RETRY_S)

    async def _wait_for_key(self, tenant: str) -> None:
        """Leave the events of a tenant that forwards no more where they are."""
        now = time.time()
        held = Hold(
            reason="not_configured",
            detail="The tenant has no amplitude.api_key",
            since=now,
            until=now + self._pauses.key_s,
            failures=0,
        )
        await self._lot.settle(tenant, [], {(tenant, EVERYBODY): held})

    def _is_trial(self, tenant: str) -> bool:
        project = self._lot.hold_of(tenant)
        return project is not None and project.failures > 0

    async def _one_turn(self, tenant: str, config: AmplitudeConfig) -> None:
        is_trial = self._is_trial(tenant)
        async with self._trials if is_trial else self._pages:
            # It may have waited long, and the project's state may be another.
            is_same = config == self._mapping.config(tenant) and is_trial == self._is_trial(tenant)
            if is_same and self._is_due(tenant):
                await self._one_page(tenant, config, is_trial=is_trial)

    async def _one_page(self, tenant: str, config: AmplitudeConfig, *, is_trial: bool) -> None:
        page = await self._page(tenant, is_trial=is_trial)
        rows, users = page.rows, page.users
        if not rows:
            await self._lot.let_go(tenant, users or [EVERYBODY])
            return
        holds = self._lot.holds[tenant]
        project = holds.get(EVERYBODY)
        await self._erasures.ensure_fresh()
        known = self._erasures.known
        live = [row for row in rows if not known.covers_row(tenant, row.received_at, row.row)]
        # What is left of a page after mapping need not be sent: it is settled too.
        mapped = await asyncio.to_thread(self._mapping.of_parked, tenant, live)
        if mapped is None:
            return  # it was switched off a moment ago: the next look finds no key
        items, skipped = mapped
        settled = await self._forwarder.forward(
            config, items, patience_s=PATIENCE_S, is_trial=is_trial
        )
        self._eps[tenant] = settled.eps or self._eps.get(tenant, DEFAULT_EPS)
        for one in skipped:
            self._ledger.add_outcome(one.outcome)
            if one.record is not None:
                self._ledger.add_record(one.record)
        new = self._new_holds(tenant, rows, settled, users)
        if settled.held is not None:
            # Kept before it is told: where the word cannot be written now, the next try is no
            # other refusal.
            await self._lot.settle(tenant, [], {(tenant, EVERYBODY): new[EVERYBODY]})
            self._announcer.announce(tenant, new[EVERYBODY], self._ledger)
        self._note(settled, holds, holds | new)
        await self._ledger.flush()
        stays = {item.place for item in (*settled.parked, *settled.left)}
        places = [row.place for row in rows if row.place not in stays]
        await self._lot.settle(tenant, places, {(tenant, user): hold for user, hold in new.items()})
        if users is not None and settled.held is None:
            # Those of whom the page had all: else they took places of others in the next ones.
            counts = Counter(row.user_id for row in rows)
            ended = [user for user in users if counts[user] < page.limit]
            if project is not None and items:
                ended.append(EVERYBODY)
            await self._lot.let_go(tenant, ended)

    async def _page(self, tenant: str, *, is_trial: bool) -> _Page:
        max_bytes = TRIAL_BYTES if is_trial else MAX_PAGE_BYTES
        if self._lot.hold_of(tenant) is None:
            users = self._due_users(tenant, PAGE_USERS)
            limit = min(self._eps.get(tenant, DEFAULT_EPS), PAGE_EVENTS)
        else:
            limit = TRIAL_EVENTS if is_trial else PAGE_EVENTS
            rows = await self._lot.page(tenant, None, limit=limit, max_bytes=max_bytes)
            # Where all that waits is of users with holds of their own, the refusal came as one of
            # them was tried: were the project let go, each try would look like the first refusal.
            users = self._due_users(tenant, 1) if is_trial and not rows else []
            if not users:
                return _Page(None, limit, rows)
        rows = await self._lot.page(tenant, users, limit=limit, max_bytes=max_bytes)
        return _Page(users, limit, rows)

    def _new_holds(
        self, tenant: str, rows: list[Parked], settled: Settled, users: list[str] | None
    ) -> UserHolds:
        before = self._lot.holds[tenant]
        now = time.time()
        moment = Moment(now=now, jitter=jitter(), pauses=self._pauses)
        new = holds_of(settled, before, moment)
        project = before.get(EVERYBODY)
        if users is None and project is not None and settled.held is None:
            new[EVERYBODY] = replace(project, until=now, failures=0)
        counts = Counter(row.user_id for row in rows)
        for user in users or ():
            if user not in new and settled.held is None:
                new[user] = paced(before[user], counts[user], eps=self._eps[tenant], now=now)
        return new

    def _note(self, settled: Settled, before: UserHolds, holds: UserHolds) -> None:
        self._ledger.add(Fate.DELIVERED, settled.delivered)
        for item, reason, detail in settled.dead:
            self._ledger.add_dead(item, reason, detail)
        for hold, items in by_hold(settled.parked, holds).items():
            # It is said already of those that wait on for the same reason, however often they try.
            new = [item for item in items if _reason(before, item.user_id) != hold.reason]
            self._ledger.add(Fate.PARKED, new, hold.reason, hold.detail)


def _reason(holds: UserHolds, user: str) -> str:
    hold = holds.get(user) or holds.get(EVERYBODY)
    return hold.reason if hold else ""
