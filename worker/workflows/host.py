"""The host of runs: has as many as it may, drives each, and gives them back when it stops.

A run is somebody's by a claim (``core.claims``) and as long as that host's lease goes on. So a run
whose host died, paused or was cut off is claimed by another one, which goes on from the run's
newest row; what the old host still writes is older than anything of the new one.

A new run begins only when the queue of commands was seen empty after it came, or a little later:
a stop that was already on its way is honoured before anything is done. A stop needs no free place.

Every failure of the warehouse is waited out; a run's own failure ends that run and nothing else.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from sluice.core.errors import QueueUnavailableError, WarehouseError
from sluice.logs import get_logger
from sluice.queue.protocol import Queue
from sluice.telemetry import RUNS_HELD
from worker.waiting import wait_for_event
from worker.workflows.core import claims as deciding
from worker.workflows.core.progress import Key, RunRow, is_over, key_of
from worker.workflows.journal import Journal
from worker.workflows.lease import Lease, clock
from worker.workflows.runner import Grip, Programs, Rows, Runner
from worker.workflows.store import Store

SUBSCRIPTION: Final = "workflows"
CLAIM_ROUNDS: Final = 3
MAX_REMEMBERED: Final = 10_000
FAILED_PAUSE_S: Final = 60.0
"""How long a run that could not be driven at all is left alone."""

log: Final = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOptions:
    """Paces and bounds of a host; the defaults serve every worker."""

    max_runs: int = 1_000
    spare_runs: int = 100
    """Beyond them, for tenants that have few here: another's slow runs do not keep them waiting."""
    few_runs: int = 10
    look_s: float = 0.05
    """How soon a run that was handed over is looked at."""
    hosts_every_s: float = 1.0
    """How often other hosts' signs of life are looked at."""
    scan_every_s: float = 15.0
    """How often all live runs are looked at, though no host ended."""
    stops_every_s: float = 0.5
    gate_s: float = 2.0
    """How long a new run waits at most for a look into the queue of commands."""
    stop_timeout_s: float = 8.0
    """How long a stopping host waits for acts that must not be broken off."""


@dataclass(slots=True)
class _Held:
    grip: Grip
    task: asyncio.Task[None]


@dataclass(slots=True)
class _Candidates:
    """Runs that nobody here has yet, with when they were first seen."""

    seen_at: OrderedDict[Key, float] = field(default_factory=OrderedDict)

    def add(self, keys: Iterable[Key], now: float) -> None:
        for key in keys:
            self.seen_at.setdefault(key, now)
        while len(self.seen_at) > MAX_REMEMBERED:
            self.seen_at.popitem(last=False)


class Host:
    """One worker's runs.

    Args:
        store: The tables of runs.
        journal: Writes transitions down; it runs as long as the host does.
        programs: What runs execute.
        queue: Where commands come from; it is only looked at.
        lease: This host's right to act.
        options: Paces and bounds.
        rows: Where transitions go instead of straight to the journal.
    """

    def __init__(
        self,
        *,
        store: Store,
        journal: Journal,
        programs: Programs,
        queue: Queue,
        lease: Lease,
        options: HostOptions = HostOptions(),
        rows: Rows | None = None,
    ) -> None:
        self._store = store
        self._journal = journal
        self._rows: Rows = rows or journal
        self._programs = programs
        self._queue = queue
        self._options = options
        self.lease = lease
        self._held: dict[Key, _Held] = {}
        self._new = _Candidates()
        self._stops: OrderedDict[Key, None] = OrderedDict()
        self._failed: OrderedDict[Key, float] = OrderedDict()
        self._news = asyncio.Event()
        self._alive: frozenset[str] = frozenset()
        self._is_short = False
        self._empty_at = float("-inf")
        self._scan_at = float("-inf")
        self._hosts_at = float("-inf")

    @property
    def held(self) -> int:
        """How many runs this host has."""
        return len(self._held)

    def offer(self, keys: Iterable[Key]) -> None:
        """Tell of runs that were just asked for."""
        self._new.add(keys, clock())
        self._news.set()

    def ask_to_stop(self, keys: Iterable[Key]) -> None:
        """Tell of runs that are to stop."""
        for key in keys:
            self._stops[key] = None
            if key in self._held:
                self._held[key].grip.ask_to_stop()
            else:
                self._new.add([key], clock())
                self._news.set()
        while len(self._stops) > MAX_REMEMBERED:
            self._stops.popitem(last=False)

    async def run(self, stop: asyncio.Event) -> None:
        """Have runs until ``stop``; then give them back, so that others go on at once."""
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(self._journal.run(), name="journal")
            released = asyncio.Event()
            leasing = tasks.create_task(self.lease.run(released, self._reclaim), name="lease")
            async with asyncio.TaskGroup() as own:
                own.create_task(self._look_for_stops(stop), name="stops")
                await self._claim_all(stop, tasks)
            await self._give_back()
            released.set()
            await leasing
            writing.cancel()
        await self.lease.end()

    # Taking runs

    async def _claim_all(self, stop: asyncio.Event, tasks: asyncio.TaskGroup) -> None:
        while not stop.is_set():
            try:
                if self.lease.is_held:
                    await self._claim_some(tasks)
            except WarehouseError as error:
                log.debug("Runs wait for the warehouse", detail=str(error))
                self._scan_at = float("-inf")  # what was about to be claimed is looked for anew
                await wait_for_event(stop, self._options.look_s * 4)
            pause_s = self._options.look_s if self._new.seen_at else self._options.look_s * 4
            await wait_for_event(self._news if not stop.is_set() else stop, pause_s)
            self._news.clear()

    async def _claim_some(self, tasks: asyncio.TaskGroup) -> None:
        await self._look_at_hosts()
        has_room = self._is_short and len(self._held) < self._options.max_runs
        pause_s = self._options.hosts_every_s if has_room else self._options.scan_every_s
        if clock() >= self._scan_at + pause_s:
            self._scan_at, self._is_short = clock(), False
            live = await self._store.live(limit=MAX_REMEMBERED)
        else:
            live = await self._store.live_among(await self._ready())
        now = clock()
        wanted = [
            key
            for key, is_scheduled in live
            if key not in self._held
            and self._failed.get(key, float("-inf")) < now
            and (not is_scheduled or self._is_ready(key, now))
        ]
        self._new.add((key for key, is_scheduled in live if is_scheduled), now)
        known = {key for key, _ in live}
        for key in wanted:
            self._new.seen_at.pop(key, None)
        if wanted:
            fair = deciding.in_turn(wanted, self._held)
            await self._claim(fair[: 2 * self._options.max_runs], tasks)
        for key in [key for key in self._new.seen_at if self._is_ready(key, now)]:
            if key not in known:
                del self._new.seen_at[key]

    async def _look_at_hosts(self) -> None:
        now = clock()
        if now < self._hosts_at + self._options.hosts_every_s:
            return
        self._hosts_at = now
        alive = deciding.living(await self._store.signs(), self.lease.lease_s)
        if not self._alive <= alive:
            self._scan_at = float("-inf")  # somebody ended, whose runs are free now
        self._alive = alive

    async def _ready(self) -> list[Key]:
        """Return the new runs that may begin."""
        if not self._new.seen_at:
            return []
        before = clock()
        try:
            if (await self._queue.backlog(SUBSCRIPTION)).messages == 0:
                self._empty_at = before
        except QueueUnavailableError as error:
            log.debug("The queue of commands cannot be seen", detail=str(error))
        return [key for key in self._new.seen_at if self._is_ready(key, before)]

    def _is_ready(self, key: Key, now: float) -> bool:
        seen_at = self._new.seen_at.get(key)
        if seen_at is None:
            return False
        return seen_at < self._empty_at or now - seen_at >= self._options.gate_s

    async def _claim(self, wanted: Sequence[Key], tasks: asyncio.TaskGroup) -> None:
        host_id = self.lease.host_id
        stopped = await self._stopped(wanted)
        others = [key for key in wanted if key not in stopped]
        free = self._options.max_runs - len(self._held)
        placed = deciding.placed(
            others,
            self._held,
            free=free,
            spare=self._options.spare_runs,
            few=self._options.few_runs,
        )
        self._is_short = len(others) > len(placed)
        chosen = [key for key in wanted if key in stopped] + placed
        mine = await self._won(chosen, host_id)
        rows = await self._store.rows(mine)
        # A stop may have come in between; whoever wrote it looks for the run's host after.
        stopped |= await self._stopped(mine)
        if self.lease.host_id != host_id:
            return
        for row in rows:
            if not is_over(row):
                self._take(row, mine[key_of(row)], tasks, is_stopped=key_of(row) in stopped)

    async def _stopped(self, keys: Iterable[Key]) -> set[Key]:
        keys = list(keys)
        return {key for key in keys if key in self._stops} | await self._store.stopped(keys)

    async def _won(self, wanted: Sequence[Key], host_id: str) -> dict[Key, int]:
        """Return the runs that this host has now, with their epochs."""
        mine: dict[Key, int] = {}
        left = list(wanted)
        for number in range(CLAIM_ROUNDS):
            if not left:
                break
            if number:
                await asyncio.sleep(random.uniform(0, 0.2))  # noqa: S311 - parts those that race
            known = deciding.by_run(await self._store.claims(left))
            # Read after the claims: who claimed had given a sign before. What is ours by name
            # only is free, since runs that this host really has were left out.
            alive = deciding.living(await self._store.signs(), self.lease.lease_s)
            asked = deciding.next_epochs(left, known, alive - self.lease.names)
            won = await self._ask(asked, host_id)
            mine |= {key: asked[key] for key in won}
            left = [key for key in asked if key not in won]
        return mine

    async def _ask(self, asked: dict[Key, int], host_id: str) -> frozenset[Key]:
        """Claim runs; return those that nobody else claimed."""
        if not asked:
            return frozenset()
        await self._store.claim(asked, host_id)
        won = deciding.won(asked, deciding.by_run(await self._store.claims(asked)), host_id)
        lost = {key: epoch for key, epoch in asked.items() if key not in won}
        await self._store.claim(lost, host_id, is_yielded=True)
        return won

    def _take(self, row: RunRow, epoch: int, tasks: asyncio.TaskGroup, *, is_stopped: bool) -> None:
        key = key_of(row)
        grip = Grip(row=row, epoch=epoch)
        if is_stopped:
            grip.ask_to_stop()
        runner = Runner(grip, programs=self._programs, rows=self._rows, lease=self.lease)
        task = tasks.create_task(self._drive(key, runner), name=f"run:{row.run_id}")
        self._held[key] = _Held(grip, task)
        RUNS_HELD.set(len(self._held))

    async def _drive(self, key: Key, runner: Runner) -> None:
        try:
            if not await runner.run():
                self._failed[key] = clock() + FAILED_PAUSE_S
                while len(self._failed) > MAX_REMEMBERED:
                    self._failed.popitem(last=False)
        finally:
            self._held.pop(key, None)
            RUNS_HELD.set(len(self._held))
            self._news.set()

    # Keeping them

    async def _look_for_stops(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await wait_for_event(stop, self._options.stops_every_s)
            held = [key for key, one in self._held.items() if not one.grip.stop.is_set()]
            try:
                self.ask_to_stop(await self._store.stopped(held))
            except WarehouseError as error:
                log.debug("Stops wait for the warehouse", detail=str(error))

    async def _reclaim(self, host_id: str) -> None:
        """Claim what this host still has under its new name; drop what another one has."""
        held = {key: one.grip.epoch for key, one in self._held.items()}
        if not held:
            return
        known = deciding.by_run(await self._store.claims(held))
        asked = deciding.untouched(held, known, self.lease.names)
        won = await self._ask(asked, host_id)
        for key in held:
            one = self._held.get(key)
            if one is None:
                continue
            if key in won:
                one.grip.epoch = asked[key]
            else:
                log.warning("A run is another host's now", run_id=key[1])
                one.task.cancel()

    async def _give_back(self) -> None:
        for one in list(self._held.values()):
            one.grip.ask_to_quit()
        tasks = [one.task for one in self._held.values()]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=self._options.stop_timeout_s)
        for task in late:
            log.warning("A step did not end in time", run=task.get_name())
            task.cancel()
        if late:
            await asyncio.wait(late)
