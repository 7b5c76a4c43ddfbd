"""Sends events that ClickHouse holds to a destination again, through the worker's own forwarding.

Order of operations for a page of events. Each step may be repeated; a process that is killed after
any of them sends some again, with the same ``insert_id``:

1. Events of a user who waits go to the replay's own lot, behind their elders; ``worker.drainer``
   sends them when they are due. The others are sent; where the whole project has to wait, the page
   waits in memory, and nothing more is read.
2. Outcomes are written to ClickHouse.
3. The key of the page's last event is noted in the progress file.

The worker's lot is left alone, so that a replay runs beside it. ``events`` is only read.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from sluice.core.errors import ConfigError, SluiceError, WarehouseUnavailableError
from sluice.core.outcomes import Fate
from sluice.settings import Settings
from sluice.tenants import TenantsFile
from sluice.warehouse import replays
from sluice.warehouse.client import Warehouse
from worker.amplitude_client import AmplitudeClient
from worker.core.holds import EVERYBODY
from worker.core.lane import Item, Settled
from worker.core.replays import PAGE_S, Plan, Reached, Reasons, page_events, slices
from worker.core.settling import Moment, covered, holds_of
from worker.drainer import Drainer, pauses_of
from worker.erasures import Erasures
from worker.forwarder import Forwarder, jitter
from worker.lot import Lot, LotFullError
from worker.lot_rows import ToPark
from worker.mapping import Mapping
from worker.pace import Pace
from worker.replay_files import BUSY, ReplayFiles
from worker.replay_ledger import ReplayLedger
from worker.replay_pages import Page, ReplayPages
from worker.troubles import Announcer

T = TypeVar("T")

PATIENCE_S: Final = 30.0
"""How long one request may take."""
LOOK_EVERY_S: Final = 0.2
RETRY_S: Final = 1.0


class HaltedError(SluiceError):
    """A replay cannot go on now; the same command goes on later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a replay works with."""

    settings: Settings
    tenants: TenantsFile
    warehouse: Warehouse
    client: AmplitudeClient
    files: ReplayFiles


class Replay:
    """One replay.

    Args:
        parts: What it works with.
        reached: How far it is; changed as it goes on.
        rate: Events a second at most.
        give_up_after_s: It halts when nothing was settled for so long.
        page_s: A page is what is sent in this time.
        is_enough: Asked after each page: whether the rest is left to another call.
        stop: Halts it when set: before the next request, or where it waits.
    """

    def __init__(
        self,
        parts: Parts,
        reached: Reached,
        *,
        rate: float,
        give_up_after_s: float,
        page_s: float = PAGE_S,
        is_enough: Callable[[], bool] = lambda: False,
        stop: asyncio.Event | None = None,
    ) -> None:
        settings, asked = parts.settings, reached.asked
        self.reached = reached
        self._tenant = asked.tenant
        self._tenants = parts.tenants
        self._warehouse = parts.warehouse
        self._files = parts.files
        self._limit = page_events(rate, page_s)
        self._is_enough = is_enough
        self._stop = stop
        self._give_up_after_s = give_up_after_s
        self._pages = ReplayPages(parts.warehouse, asked)
        self._mapping = Mapping(parts.tenants)
        self._lot = Lot(parts.files.lot_path, max_bytes=settings.parked_max_bytes)
        self._ledger = ReplayLedger(parts.warehouse, asked.tenant, asked.destination)
        self._before = reached.delivered, reached.filtered, reached.refused
        self._pauses = pauses_of(settings)
        self._erasures = Erasures(parts.warehouse)
        self._forwarder = Forwarder(
            parts.client,
            in_flight=settings.amplitude_in_flight,
            endpoint="/batch",
            pace=Pace(rate),
        )
        self._drainer = Drainer(
            lot=self._lot,
            forwarder=self._forwarder,
            ledger=self._ledger,
            mapping=self._mapping,
            pauses=self._pauses,
            erasures=self._erasures,
            announcer=Announcer(),
        )
        self._settled = 0
        self._moved_at = 0.0
        self.is_cut = False
        """Whether the rest was left to another call."""
        self.problem = ""
        """Why it is not finished, in a sentence; empty if it is."""

    @property
    def waiting(self) -> int:
        """How many events were read and wait."""
        return self._lot.events

    @property
    def delivered(self) -> int:
        """How many events were delivered since the replay began, up to this moment."""
        return self._before[0] + self._ledger.delivered

    @property
    def settled(self) -> int:
        """How many came to an end: delivered, filtered or refused."""
        return sum(self._before) + self._ledger.settled

    @property
    def refused(self) -> Reasons:
        """Why events were refused."""
        return self._ledger.reasons

    @property
    def waits_for(self) -> str:
        """Why the project or its users wait; empty when none does."""
        holds = self._lot.holds.get(self._tenant, {})
        project = holds.get(EVERYBODY)
        if project is not None:
            return f"{project.reason}: {project.detail}"
        reasons = sorted({hold.reason for hold in holds.values()})
        users = "1 user" if len(holds) == 1 else f"{len(holds):,} users"
        return f"{users}: {', '.join(reasons)}" if holds else ""

    async def plan(self) -> Plan:
        """Return what the whole of it would send.

        Raises:
            WarehouseError: ClickHouse cannot be read.
        """
        return await self._pages.plan(self.reached.since, self.reached.until)

    async def run(self, plan: Plan) -> None:
        """Send what is not sent yet; ``problem`` says whether something is left.

        Raises:
            ConfigError: The same replay is running already.
            WarehouseError: ClickHouse refuses a statement.
        """
        now = asyncio.Event()
        now.set()  # who has the lot keeps it until it is done: there is nothing to wait for
        if not await self._lot.open(now):
            raise ConfigError(BUSY)
        try:
            await self._files.save(self.reached)
            await self._forget_waits()
            await self._serve(plan)
            await self._save()
            is_finished = not self.problem and not self.waiting and not self.is_cut
        finally:
            await self._lot.close()
        if is_finished:
            self._files.remove()

    async def _forget_waits(self) -> None:
        """Let everybody be tried at once: whoever starts a replay again wants to know."""
        now = time.time()
        holds = self._lot.holds.get(self._tenant, {})
        due = {
            (self._tenant, user): replace(hold, until=now, failures=0)
            for user, hold in holds.items()
        }
        await self._lot.settle(self._tenant, [], due)
        await self._lot.let_go(self._tenant, [EVERYBODY])

    async def _serve(self, plan: Plan) -> None:
        stop = asyncio.Event()
        self._moved_at = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tenants.run(stop), name="tenants")
            tasks.create_task(self._drainer.run(stop), name="drainer")
            try:
                await self._feed(plan)
                await self._empty_lot()
            except HaltedError as error:
                self.problem = str(error)
            finally:
                stop.set()
        await self._retrying(self._ledger.flush)
        await self._forget_letters()

    async def _feed(self, plan: Plan) -> None:
        reached = self.reached
        window = reached.since, reached.until
        parts = [window]
        if not reached.asked.dead_letters:
            parts = slices(*window, plan.hours, after=reached.after_at)
        for since, until in parts:
            is_last = False
            while not is_last:
                page = await self._page(since, until)
                is_last = page.is_last
                if page.rows:
                    await self._send_page(page)
                if self._is_enough():
                    self.is_cut = True
                    return

    async def _page(self, since: str, until: str) -> Page:
        return await self._retrying(
            lambda: self._pages.page(self.reached, since, until, limit=self._limit)
        )

    async def _send_page(self, page: Page) -> None:
        await self._retrying(self._erasures.ensure_fresh)
        known = self._erasures.known
        rows = [row for row in page.rows if not known.covers(row)]  # erased after they were read
        items, skipped, unreadable = await asyncio.to_thread(
            self._mapping.of_rows, self._tenant, rows
        )
        for one in skipped:
            self._ledger.add_outcome(one.outcome)
            if one.record is not None:
                self._ledger.add_record(one.record)
        for _ in unreadable:
            self._ledger.add_unreadable()
        while items:
            items = await self._send(items, is_trial=await self._turn())
        await self._retrying(self._ledger.flush)
        self.reached.after_at, self.reached.after_id = page.after_at, page.after_id
        self.reached.read += len(page.rows)
        await self._save()
        if self.reached.asked.dead_letters:
            await self._forget_letters()

    async def _turn(self) -> bool:
        """Wait until the project may be sent to; return whether that is a trial."""
        while True:
            project = self._lot.hold_of(self._tenant)
            if project is None or project.until <= time.time():
                return project is not None and project.failures > 0
            self._check_patience()
            await asyncio.sleep(min(LOOK_EVERY_S, max(0.0, project.until - time.time())))

    async def _send(self, items: list[Item], *, is_trial: bool) -> list[Item]:
        """Send what may be sent, leave in the lot what has to wait; return what is left."""
        self._check_patience()
        config = self._mapping.config(self._tenant)
        if config is None:
            message = f"tenant {self._tenant!r} has no amplitude.api_key any more"
            raise HaltedError(message)
        holds = self._lot.holds.get(self._tenant, {})
        was_held = EVERYBODY in holds
        waiting = [item for item in items if item.user_id in holds]
        going = [item for item in items if item.user_id not in holds] if waiting else items
        settled = await self._forwarder.forward(
            config, going, patience_s=PATIENCE_S, is_trial=is_trial
        )
        self._ledger.add(Fate.DELIVERED, settled.delivered)
        for item, reason, detail in settled.dead:
            self._ledger.add_dead(item, reason, detail)
        await self._park(waiting + settled.parked, settled)
        if settled.held is None and was_held:
            await self._lot.let_go(self._tenant, [EVERYBODY])
        return settled.left

    async def _park(self, items: list[Item], settled: Settled) -> None:
        before = self._lot.holds.get(self._tenant, {})
        moment = Moment(now=time.time(), jitter=jitter(), pauses=self._pauses)
        new = holds_of(settled, before, moment)
        if EVERYBODY in new:  # what is left of the page waits in memory
            had = before.get(EVERYBODY)
            has_rows = had is not None and had.has_rows
            new[EVERYBODY] = replace(new[EVERYBODY], has_rows=has_rows)
        while True:
            holds = self._lot.holds.get(self._tenant, {}) | new
            all_new = new | covered(items, holds, moment)
            rows = [
                ToPark(item.tenant, item.user_id, item.event_id, item.received_at, item.row)
                for item in items
            ]
            try:
                await self._lot.park(
                    rows, {(self._tenant, user): hold for user, hold in all_new.items()}
                )
            except LotFullError:  # the drainer makes room
                self._check_patience()
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _empty_lot(self) -> None:
        """Wait until the drainer has sent what waits."""
        while self._lot.events:
            self._check_patience()
            holds = self._lot.holds.get(self._tenant, {})
            soonest = min((hold.until for hold in holds.values()), default=0.0)
            if soonest > time.time() + self._give_up_after_s:
                message = f"{self.waiting:,} events wait ({self.waits_for})"
                raise HaltedError(message)
            await asyncio.sleep(LOOK_EVERY_S)

    def _check_patience(self) -> None:
        """Halt when waiting is of no use.

        Raises:
            HaltedError: It was stopped, the API key is refused, or nothing came to an end for too
                long.
        """
        if self._stop is not None and self._stop.is_set():
            message = "it was stopped"
            raise HaltedError(message)
        if self._ledger.settled != self._settled:
            self._settled = self._ledger.settled
            self._moved_at = time.monotonic()
        project = self._lot.hold_of(self._tenant)
        if project is not None and project.reason == "bad_credentials" and project.failures:
            remedy = f"`sluice tenant set {self._tenant} amplitude.api_key=…` sets another key"
            raise HaltedError(f"{project.detail}: {remedy}")
        if time.monotonic() - self._moved_at > self._give_up_after_s:
            why = f" ({self.waits_for})" if self.waits_for else ""
            message = f"nothing could be delivered for {self._give_up_after_s:g} s{why}"
            raise HaltedError(message)

    async def _retrying(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do what needs ClickHouse, as soon as it answers.

        Raises:
            WarehouseUnavailableError: It did not answer for too long.
        """
        started = time.monotonic()
        while True:
            try:
                return await work()
            except WarehouseUnavailableError:
                if time.monotonic() - started > self._give_up_after_s:
                    raise
                await asyncio.sleep(RETRY_S)

    async def _forget_letters(self) -> None:
        await self._retrying(
            lambda: self._warehouse.run(
                replays.DELETE_DELIVERED_LETTERS,
                tenant=self._tenant,
                destination=self.reached.asked.destination,
            )
        )

    async def _save(self) -> None:
        delivered, filtered, refused = self._before
        self.reached.delivered = delivered + self._ledger.delivered
        self.reached.filtered = filtered + self._ledger.filtered
        self.reached.refused = refused + self._ledger.refused
        await self._files.save(self.reached)
