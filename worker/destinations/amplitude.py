"""The Amplitude destination: each tenant's events to its own project, by the meaning of answers.

Order of operations for a batch. Each step may be repeated; a crash after any of them leads to a
redelivery with the same ``insert_id``:

0. What people sent who were erased since is left out (``worker.erasures``).
1. Events of a project or user that waits go to the lot (``worker.lot``), behind their elders.
2. The others are sent, each tenant by itself, tenants at once (``worker.forwarder``).
3. What cannot be sent now is parked, durably. A project that does not answer within
   ``PATIENCE_S``, or has not taken all by then, waits from then on, so that no tenant delays
   another for long.
4. Outcomes are written to ClickHouse (``worker.ledger``), while the next batch is being sent. Then
   the consumer acknowledges.

Where Amplitude is away for every tenant of a batch, nothing is parked: the consumer keeps the batch
and pulls no more (design, decision 6). What is parked is sent by ``worker.drainer``.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final

from sluice.core.errors import WarehouseError
from sluice.core.outcomes import Fate
from sluice.logs import get_logger
from sluice.queue.protocol import Delivery
from sluice.settings import Settings
from sluice.telemetry import ERASED, PARKED_EVENTS
from sluice.tenants import TenantsFile
from sluice.warehouse.client import Warehouse
from worker.amplitude_client import AmplitudeClient
from worker.core.holds import EVERYBODY, is_due
from worker.core.lane import Item, Settled
from worker.core.settling import Moment, UserHolds, by_hold, covered, holds_of
from worker.delivery import Destination, RetryLaterError, Waiting
from worker.drainer import Drainer, pauses_of
from worker.erased_lots import forget_in_lot, forget_in_replays
from worker.erasures import Erasures
from worker.forwarder import Forwarder, jitter
from worker.ledger import Ledger
from worker.lot import Lot, LotError
from worker.lot_rows import ToPark
from worker.mapping import Mapping
from worker.prepared import Prepared, by_tenant, leave_out_erased
from worker.troubles import Announcer, sentences, waiting_of
from worker.waiting import wait_for_event

NAME: Final = "amplitude"
PATIENCE_S: Final = 5.0
"""How long a batch waits for one project before that project goes its own way."""
TRIAL_PATIENCE_S: Final = 30.0
REOPEN_S: Final = 2.0
TENANTS_AT_ONCE: Final = 16
LOOK_EVERY_S: Final = 5.0
LOOKS: Final = 24
"""How often the lot is searched after somebody was erased: for two minutes."""
MAX_BATCH_ROWS: Final = 25_000
MAX_BATCH_BYTES: Final = 8 * 1024 * 1024
"""Smaller than the warehouse's: each event is held as it came and as it goes."""

log: Final = get_logger(__name__)


@dataclass(slots=True)
class _Sent:
    """What became of one tenant's part of a batch."""

    tenant: str
    settled: Settled = field(default_factory=Settled)
    waiting: list[Item] = field(default_factory=list)
    """Of users that waited before, in order."""
    stopped: list[Item] = field(default_factory=list)
    """Not sent, because the whole project waited before."""


class AmplitudeDestination:
    """Amplitude as a destination."""

    def __init__(
        self,
        settings: Settings,
        *,
        tenants: TenantsFile,
        client: AmplitudeClient,
        warehouse: Warehouse,
    ) -> None:
        self._settings = settings
        self._tenants = tenants
        self._mapping = Mapping(tenants)
        self._lot = Lot(settings.parked_path, max_bytes=settings.parked_max_bytes)
        self._forwarder = Forwarder(client, in_flight=settings.amplitude_in_flight)
        self._ledger = Ledger(warehouse, NAME)
        self._pauses = pauses_of(settings)
        self._erasures = Erasures(warehouse, on_new=self._look_for_erased)
        self._looks_left = 0
        self._announcer = Announcer()
        self._drainer = Drainer(
            lot=self._lot,
            forwarder=self._forwarder,
            ledger=Ledger(warehouse, NAME),
            mapping=self._mapping,
            pauses=self._pauses,
            erasures=self._erasures,
            announcer=self._announcer,
        )
        self._is_open = False
        self._problem = ""

    @property
    def is_ready(self) -> bool:
        """Whether this process has the lot; another one may have it while it stops."""
        return self._is_open

    @property
    def parked_events(self) -> int:
        """How many events wait in the lot."""
        return self._lot.events

    @property
    def troubles(self) -> Sequence[str]:
        """Which tenants' forwarding waits and why, in sentences."""
        return [self._problem] if self._problem else sentences(self._lot)

    @property
    def freshness(self) -> None:
        """Not measured: outcomes say of each event when it was delivered."""

    def waiting_of(self, tenant: str) -> Waiting:
        """Return what of a tenant is parked and why."""
        return waiting_of(self._lot, tenant, is_stuck=bool(self._problem))

    async def start(self, stop: asyncio.Event) -> None:
        """Open the lot as soon as no other process has it and the tenants are known."""
        while not (self._is_open or stop.is_set()):
            if self._tenants.problem:
                # Without tenants every event would pass as one that nobody wants forwarded.
                if not self._problem:
                    log.warning("Forwarding waits", detail=self._tenants.problem)
                self._problem = f"forwarding waits: {self._tenants.problem}"
                await wait_for_event(stop, REOPEN_S)
                continue
            try:
                self._is_open = await self._lot.open(stop)
            except (LotError, OSError) as error:
                # The other destinations go on, and so does this one as soon as the file is mended.
                if not self._problem:
                    log.warning("Forwarding waits", detail=str(error))
                self._problem = f"forwarding waits: {error}"
                await wait_for_event(stop, REOPEN_S)
            else:
                self._problem = ""

    def prepare(self, delivery: Delivery) -> Prepared:
        """Map an envelope's events. Called in a thread; never raises."""
        items, skipped = self._mapping.of_envelope(delivery.envelope)
        return Prepared(items, skipped)

    async def deliver(self, batch: Sequence[Prepared]) -> None:
        """Send or park a batch.

        Raises:
            RetryLaterError: Amplitude is away for all of it, or the lot is full, or nobody can say
                who was erased.
        """
        try:
            await self._erasures.ensure_fresh()
        except WarehouseError as error:
            raise RetryLaterError(str(error)) from error
        if self._erasures.known.tenants:
            await asyncio.to_thread(leave_out_erased, batch, self._erasures.known)
        for prepared in batch:
            for skipped in prepared.skipped:
                self._ledger.add_outcome(skipped.outcome)
                if skipped.record is not None:
                    self._ledger.add_record(skipped.record)
            prepared.skipped = []
        sent = await self._send(by_tenant(batch))
        kept = await self._settle(sent)
        ids = {id(item) for item in kept}
        for prepared in batch:
            prepared.items = [item for item in prepared.items if id(item) in ids]
        PARKED_EVENTS.labels(NAME).set(self._lot.events)
        if kept:
            await self.commit()  # it may take long until the rest is delivered
            hold = self._lot.hold_of(kept[0].tenant)
            raise RetryLaterError(hold.detail if hold else "events cannot be parked")

    async def commit(self) -> None:
        """Write the outcomes down.

        Raises:
            RetryLaterError: ClickHouse does not take them now; they are kept.
        """
        try:
            await self._ledger.flush()
        except WarehouseError as error:
            raise RetryLaterError(str(error)) from error

    async def upkeep(self, stop: asyncio.Event) -> None:
        """Follow the tenants file and send what is parked, until ``stop``."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tenants.run(stop), name="tenants")
            tasks.create_task(self._drainer.run(stop), name="drainer")
            tasks.create_task(self._erasures.run(stop), name="erasures")
            tasks.create_task(self._forget_erased(stop), name="forget")
        await self._lot.close()

    def _look_for_erased(self) -> None:
        # More than once: what was on its way may still come into the lot.
        self._looks_left = LOOKS

    async def _forget_erased(self, stop: asyncio.Event) -> None:
        """Take out of the lots what is not to be sent to anybody any more."""
        while not stop.is_set():
            await wait_for_event(stop, LOOK_EVERY_S)
            if not (self._looks_left and self._is_open):
                continue
            known = self._erasures.known
            try:
                ERASED.labels(NAME).inc(await forget_in_lot(self._lot, known))
                ERASED.labels(NAME).inc(await forget_in_replays(self._settings, known))
            except LotError as error:
                log.warning("Erased events cannot be taken out of the lot", detail=str(error))
            else:
                self._looks_left -= 1

    async def _send(self, items: dict[str, list[Item]]) -> list[_Sent]:
        gate = asyncio.Semaphore(TENANTS_AT_ONCE)

        async def send(tenant: str) -> _Sent:
            async with gate:
                return await self._send_one(tenant, items[tenant])

        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(send(tenant)) for tenant in items]
        return [task.result() for task in running]

    async def _send_one(self, tenant: str, items: list[Item]) -> _Sent:
        config = self._mapping.config(tenant)
        holds = self._lot.holds.get(tenant, {})
        project = holds.get(EVERYBODY)
        if config is None:
            return _Sent(tenant)  # forwarding was switched off since it was mapped
        if project is not None and (
            project.has_rows or not is_due(project, now=time.time(), pauses=self._pauses)
        ):
            return _Sent(tenant, stopped=items)
        going, waiting = items, []
        if holds:
            going = [item for item in items if item.user_id not in holds]
            waiting = [item for item in items if item.user_id in holds]
        is_trial = project is not None
        settled = await self._forwarder.forward(
            config,
            going,
            patience_s=TRIAL_PATIENCE_S if is_trial else PATIENCE_S,
            within_s=PATIENCE_S,
            is_trial=is_trial,
        )
        if is_trial and going and settled.held is None:
            with suppress(LotError):  # then it goes the next time
                await self._lot.let_go(tenant, [EVERYBODY])
        return _Sent(tenant, settled, waiting)

    async def _settle(self, sent: Sequence[_Sent]) -> list[Item]:
        """Park what waits and note all outcomes; return what stays with the consumer."""
        moment = Moment(now=time.time(), jitter=jitter(), pauses=self._pauses)
        new = {one.tenant: self._new_holds(one, moment) for one in sent}
        is_away = self._is_away(new)
        kept: list[Item] = []
        parked: dict[str, list[Item]] = {}
        for one in sent:
            stopped = one.settled.left + one.stopped
            parked[one.tenant] = one.settled.parked + one.waiting
            if is_away:
                kept += stopped
            else:
                parked[one.tenant] += stopped
            holds = self._holds(one.tenant) | new[one.tenant]
            new[one.tenant] |= covered(parked[one.tenant], holds, moment)
        were_there: AbstractSet[tuple[str, str]] = frozenset()
        try:
            were_there = await self._park(parked, new)
        except LotError as error:
            log.warning("Events cannot be parked", detail=str(error))
            with suppress(LotError):
                await self._park({}, new)
            kept += [item for items in parked.values() for item in items]
            parked = {}
        self._note(sent, parked, were_there)
        return kept

    def _new_holds(self, one: _Sent, moment: Moment) -> UserHolds:
        before = self._holds(one.tenant)
        holds = holds_of(one.settled, before, moment)
        project = holds.get(EVERYBODY)
        if project is not None:
            had = before.get(EVERYBODY)
            has_rows = had is not None and had.has_rows
            holds[EVERYBODY] = replace(project, has_rows=has_rows)
            self._announcer.announce(one.tenant, project, self._ledger)
        return holds

    def _is_away(self, new: dict[str, UserHolds]) -> bool:
        """Whether Amplitude answers for no tenant at all."""
        projects = [
            (self._holds(tenant) | new.get(tenant, {})).get(EVERYBODY)
            for tenant in self._mapping.tenants
        ]
        return bool(projects) and all(hold is not None and hold.is_outage for hold in projects)

    def _holds(self, tenant: str) -> UserHolds:
        return self._lot.holds.get(tenant, {})

    async def _park(
        self, parked: dict[str, list[Item]], holds: dict[str, UserHolds]
    ) -> AbstractSet[tuple[str, str]]:
        return await self._lot.park(
            [
                ToPark(item.tenant, item.user_id, item.event_id, item.received_at, item.row)
                for items in parked.values()
                for item in items
            ],
            {(tenant, user): hold for tenant, some in holds.items() for user, hold in some.items()},
        )

    def _note(
        self,
        sent: Sequence[_Sent],
        parked: dict[str, list[Item]],
        were_there: AbstractSet[tuple[str, str]],
    ) -> None:
        for one in sent:
            self._ledger.add(Fate.DELIVERED, one.settled.delivered)
            for item, reason, detail in one.settled.dead:
                self._ledger.add_dead(item, reason, detail)
        for tenant, items in parked.items():
            new = [item for item in items if (tenant, item.event_id) not in were_there]
            for hold, some in by_hold(new, self._holds(tenant)).items():
                self._ledger.add(Fate.PARKED, some, hold.reason, hold.detail)
            # The drainer may have sent these and be about to say so: this word must not be later.
            # Where the worker died before it wrote the first one, it is the only one.
            old = [item for item in items if (tenant, item.event_id) in were_there]
            for item in old:
                self._ledger.add(Fate.PARKED, [item], "catching_up", at=item.received_at)


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[AmplitudeDestination]:
    tenants = TenantsFile(settings.tenants_path, may_be_broken=True)
    async with AmplitudeClient(settings.amplitude_url) as client, Warehouse(settings) as warehouse:
        yield AmplitudeDestination(settings, tenants=tenants, client=client, warehouse=warehouse)


DESTINATION: Final = Destination(
    subscription=NAME,
    open=_open,
    is_ordered=True,
    max_batch_rows=MAX_BATCH_ROWS,
    max_batch_bytes=MAX_BATCH_BYTES,
)
