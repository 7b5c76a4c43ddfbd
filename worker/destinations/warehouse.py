"""The warehouse destination: rows to ClickHouse, each event counted once.

Order of operations for a batch. Each step may be repeated, so a crash after any of them leads to a
redelivery that ends in the same tables:

0. Leave out what people sent who were erased since (``worker.erasures``).
1. Recognise what clients sent again (``worker.keys``); later copies are left out and counted.
2. Insert the events. An envelope from which nothing is left out goes on as it came, undecoded.
3. Insert user traits, error records and dead letters.
4. Note what was accepted (``worker.core.accepted``), and the touched hours, so that no rollup stays
   stale. Then the consumer acknowledges.

If ClickHouse refuses rows for what they hold, the batch is halved until only the poison is left,
which becomes dead letters. Any other failure says "later": the consumer holds the batch.
"""

import asyncio
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import chain
from typing import Final, TypeVar

from sluice.core.envelope import EnvelopeError, split, unseal
from sluice.core.errors import WarehouseError, WarehouseUnavailableError
from sluice.logs import get_logger
from sluice.queue.protocol import Delivery
from sluice.settings import Settings
from sluice.telemetry import DUPLICATES, ERASED, INSERT_ROWS, INSERT_SECONDS, INSERTED
from sluice.warehouse.client import Warehouse
from sluice.warehouse.migrate import migrate
from worker.core.accepted import AcceptedRow, Place, accepted_rows
from worker.core.bisect import isolate
from worker.core.copies import Verdict
from worker.core.freshness import Freshness
from worker.core.refusals import is_about_rows
from worker.core.rows import (
    HOUR_CHARS,
    SLOT_CHARS,
    Key,
    read_facts,
    traits_of,
    without,
)
from worker.delivery import Destination, RetryLaterError, Waiting
from worker.encoding import compress, frames
from worker.erasures import Erasures, erased_rows
from worker.freshness import FreshnessMeter
from worker.keys import Keys
from worker.registry import Registry
from worker.retention import Retention
from worker.rollups import Rollups
from worker.side_by_side import side_by_side
from worker.waiting import wait_for_event
from worker.warehouse_asides import bury, carry_over
from worker.warehouse_parts import (
    NO_FACTS,
    Dead,
    Part,
    Prepared,
    lines_of,
    parts_of,
    rows_of,
    shares_of,
    without_malformed_keys,
)

NO_COPIES: Final = Verdict(frozenset(), ())
SCHEMA_IS_GONE: Final = frozenset({60, 81})
"""UNKNOWN_TABLE and UNKNOWN_DATABASE: somebody emptied the warehouse."""
SCHEMA_RETRY_S: Final = 0.2
FILTER_S: Final = 1.0
FAREWELL_S: Final = 2.0
INSERTS_AT_ONCE: Final = 2
"""While one is read and sorted the other is compressed and written. The embedded warehouse has one
thread more for inserts, so that small ones need not wait."""

T = TypeVar("T")
_Copies = defaultdict[int, Counter[Place]]
"""How many rows are copies, by place of the envelope, then by tenant and hour."""

log: Final = get_logger(__name__)


class WarehouseDestination:
    """ClickHouse as a destination."""

    def __init__(self, settings: Settings, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self.registry = Registry(warehouse)
        self.keys = Keys(warehouse, self.registry, capacity=settings.dedup_filter_keys)
        self.rollups = Rollups(warehouse)
        self.retention = Retention(warehouse, settings.tenants_path)
        self.erasures = Erasures(warehouse)
        self._migrating = asyncio.Lock()
        self._is_migrated = False
        self._is_settled = True
        self._meter = FreshnessMeter()
        self._settings = settings

    @property
    def is_ready(self) -> bool:
        """Whether the schema is up to date."""
        return self._is_migrated

    @property
    def parked_events(self) -> int:
        """None: what the warehouse cannot take now stays in the queue."""
        return 0

    @property
    def troubles(self) -> Sequence[str]:
        """Nothing that the breaker does not say."""
        return ()

    @property
    def freshness(self) -> Freshness | None:
        """How old events were when they became visible."""
        return self._meter.now()

    def waiting_of(self, _tenant: str) -> Waiting:
        """Return that nothing waits but what the queue holds."""
        return Waiting()

    async def start(self, stop: asyncio.Event) -> None:
        """Nothing is needed; the schema is made beside the first deliveries."""

    def prepare(self, delivery: Delivery) -> Prepared:
        """Read of an envelope what decides about its rows. Called in a thread; never raises."""
        try:
            data = unseal(delivery.envelope)
        except EnvelopeError as error:
            return Prepared(delivery=delivery, broken=str(error))
        if delivery.envelope.kind != "events":
            return Prepared(delivery=delivery)
        facts = read_facts(data)
        rows = split(data) if facts.identified else []
        traits = {position: traits_of(rows[position]) for position in facts.identified}
        return Prepared(delivery=delivery, facts=facts, traits=traits)

    async def deliver(self, batch: Sequence[Prepared]) -> None:
        """Store a batch.

        Raises:
            RetryLaterError: ClickHouse is away, or refused for a reason that is not in the rows.
        """
        self._is_settled = False
        try:
            await self._ensure_schema()
            await self.erasures.ensure_fresh()
            await self._store(batch)
            self._is_settled = True
        except WarehouseUnavailableError as error:
            raise RetryLaterError(str(error)) from error
        except WarehouseError as error:
            self._is_migrated = self._is_migrated and error.code not in SCHEMA_IS_GONE
            log.error("The warehouse refused a batch", code=error.code, detail=str(error))  # noqa: TRY400 - the text says all
            raise RetryLaterError(str(error)) from error

    async def commit(self) -> None:
        """Nothing is left to do: each step of a delivery is durable when it returns."""

    async def upkeep(self, stop: asyncio.Event) -> None:
        """Keep schema, registry, filter and rollups until ``stop``; then say farewell."""
        await self._wait_for_schema(stop)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_filter(stop), name="filter")
            tasks.create_task(self.registry.run(stop), name="registry")
            tasks.create_task(self.rollups.run(stop), name="rollups")
            tasks.create_task(self.retention.run(stop), name="retention")
            tasks.create_task(self.erasures.run(stop), name="erasures")
        if not self._is_settled:
            return  # a statement that did not answer may still write keys: others had better wait
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self.registry.say_farewell()
        except (WarehouseError, TimeoutError) as error:
            log.debug("The farewell did not arrive", detail=str(error))

    async def _wait_for_schema(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._ensure_schema()
            except WarehouseError as error:
                log.debug("The schema waits for the warehouse", detail=str(error))
                await wait_for_event(stop, SCHEMA_RETRY_S)
            else:
                return

    async def _keep_filter(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.keys.keep_filter()
            except WarehouseError as error:
                log.debug("The filter waits for the warehouse", detail=str(error))
            await wait_for_event(stop, FILTER_S)

    async def _ensure_schema(self) -> None:
        if self._is_migrated:
            return
        async with self._migrating:
            if not self._is_migrated:
                applied = await migrate(self._warehouse)
                log.info("Schema is up to date", applied=applied)
                self._is_migrated = True

    async def _store(self, batch: Sequence[Prepared]) -> None:
        readable = [prepared for prepared in batch if not prepared.broken]
        events = [prepared for prepared in readable if prepared.envelope.kind == "events"]
        dead = [Dead(prepared, None, prepared.broken) for prepared in batch if prepared.broken]
        events, erased = await self._without_erased(events)
        dropped, verdict, copies = await self._recognise(events, dead)
        for place, positions in erased.items():
            dropped.setdefault(place, set()).update(positions)
        parts = await asyncio.to_thread(parts_of, events, dropped)
        poison = await self._insert("events", parts)
        self._meter.note(parts, poison)
        dead += poison
        await self._insert_traits(events, dropped)
        errors = [prepared for prepared in readable if prepared.envelope.kind == "errors"]
        errors, erased = await self._without_erased(errors)
        dead += await self._insert("errors", await asyncio.to_thread(parts_of, errors, erased))
        dead += await carry_over(self._warehouse, readable)
        await bury(self._warehouse, dead)
        slots = {slot for prepared in events for slot in prepared.facts.slots}
        slots.update((copy.tenant, copy.received_at[:SLOT_CHARS]) for copy in verdict.stored_before)
        await side_by_side(
            [
                self._note_accepted(events, copies),
                self.rollups.touch(slots, has_copies=bool(verdict.stored_before)),
            ]
        )

    async def _without_erased(
        self, sources: list[Prepared]
    ) -> tuple[list[Prepared], dict[int, set[int]]]:
        """Return the same with nothing known of erased rows, and their positions by place."""
        known = self.erasures.known
        if not known.tenants:
            return sources, {}
        places = [
            place
            for place, one in enumerate(sources)
            if one.facts is NO_FACTS or one.facts.poison or known.concerns(one.facts.hours)
        ]
        found = await erased_rows(known, [sources[place].envelope for place in places])
        gone = [row for rows in found for row in rows.values() if row.is_event]
        if gone:  # before anything is acknowledged, so that the ledger knows where they are
            data = await asyncio.to_thread(frames, [row.accepted for row in gone])
            await self._warehouse.insert_rows(
                "accepted_erased", data, columns=["tenant", "event_id", "received_at"]
            )
        erased = {place: set(rows) for place, rows in zip(places, found, strict=True) if rows}
        ERASED.labels("warehouse").inc(sum(map(len, erased.values())))
        changed = [
            replace(one, facts=without(one.facts, erased[place])) if place in erased else one
            for place, one in enumerate(sources)
        ]
        return changed, erased

    async def _recognise(
        self, events: Sequence[Prepared], dead: list[Dead]
    ) -> tuple[dict[int, set[int]], Verdict, _Copies]:
        """Return the positions to leave out, by place of the envelope; add poison to ``dead``."""
        left_out: defaultdict[int, set[int]] = defaultdict(set)
        copies: _Copies = defaultdict(Counter)
        try:
            verdict = await self._judge(events, left_out, copies)
        except (ValueError, WarehouseError) as error:
            if isinstance(error, WarehouseError) and not is_about_rows(error.code):
                raise
            events = [without_malformed_keys(prepared) for prepared in events]
            verdict = await self._judge(events, left_out, copies)
        DUPLICATES.inc(len(verdict.dropped))
        for place, prepared in enumerate(events):
            if prepared.facts.poison:
                rows = await asyncio.to_thread(lambda one: split(unseal(one.envelope)), prepared)
                for bad in prepared.facts.poison:
                    left_out[place].add(bad.index)
                    dead.append(Dead(prepared, rows[bad.index], bad.reason))
        return left_out, verdict, copies

    async def _judge(
        self, events: Sequence[Prepared], left_out: dict[int, set[int]], copies: _Copies
    ) -> Verdict:
        named: list[Key] = []
        starts: list[int] = []
        for prepared in events:
            starts.append(len(named))
            named += prepared.facts.named
        if not named:
            return NO_COPIES
        verdict = await self.keys.judge(named)
        for number in verdict.dropped:
            # Of envelopes without named events several start at the same number; the last has it.
            place = bisect_right(starts, number) - 1
            left_out[place].add(events[place].facts.positions[number - starts[place]])
            copies[place][named[number].tenant, named[number].received_at[:HOUR_CHARS]] += 1
        return verdict

    async def _note_accepted(self, events: Sequence[Prepared], copies: _Copies) -> None:
        rows = [
            row
            for place, prepared in enumerate(events)
            for row in accepted_rows(
                prepared.envelope.envelope_id, prepared.facts.accepted, copies.get(place, {})
            )
        ]
        if rows:
            data = await asyncio.to_thread(frames, rows)
            await self._warehouse.insert_rows(
                "accepted", data, columns=list(AcceptedRow.__struct_fields__)
            )

    async def _insert(self, table: str, parts: Sequence[Part]) -> list[Dead]:
        """Insert parts; return the rows that ClickHouse cannot take."""
        if not parts:
            return []
        rows = sum(map(rows_of, parts))
        with INSERT_SECONDS.time():
            refused = await side_by_side(
                self._insert_or_isolate(
                    table, share, lambda some: b"".join(part.body for part in some)
                )
                for share in self._shares(parts)
            )
        INSERT_ROWS.observe(rows)
        INSERTED.labels(table).inc(rows)
        dead: list[Dead] = []
        for part, _ in chain.from_iterable(refused):
            kept = await asyncio.to_thread(lines_of, part)
            poison = await self._insert_or_isolate(
                table, kept, lambda some: compress(b"\n".join([*some, b""]))
            )
            dead += [Dead(part.source, row, reason) for row, reason in poison]
        return dead

    def _shares(self, parts: Sequence[Part]) -> list[Sequence[Part]]:
        bounds = self._settings
        return shares_of(parts, max_rows=bounds.batch_max_rows, max_bytes=bounds.batch_max_bytes)

    async def _insert_or_isolate(
        self, table: str, items: Sequence[T], encode: Callable[[Sequence[T]], bytes]
    ) -> list[tuple[T, str]]:
        """Insert all items in as few inserts as go through; return those refused alone."""
        search = isolate(items)
        reason: str | None = None
        try:
            part = next(search)
            while True:
                try:
                    data = await asyncio.to_thread(encode, part)
                    await self._warehouse.insert_rows(table, data)
                    reason = None
                except WarehouseError as error:
                    if not is_about_rows(error.code):
                        raise
                    reason = str(error)
                part = search.send(reason)
        except StopIteration as found:
            refused: list[tuple[T, str]] = found.value
            return refused

    async def _insert_traits(
        self, events: Sequence[Prepared], dropped: dict[int, set[int]]
    ) -> None:
        traits = [
            trait
            for place, prepared in enumerate(events)
            for position, said in prepared.traits.items()
            if position not in dropped.get(place, ())
            for trait in said
        ]
        if traits:
            data = await asyncio.to_thread(frames, traits)
            await self._warehouse.insert_rows("user_traits", data)


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[WarehouseDestination]:
    async with Warehouse(settings) as warehouse:
        yield WarehouseDestination(settings, warehouse)


DESTINATION: Final = Destination(
    subscription="warehouse", open=_open, inserts_at_once=INSERTS_AT_ONCE
)
