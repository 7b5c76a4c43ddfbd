"""Recognises what clients sent again, also when two workers race (design, decision 8).

Order of operations for a batch, each step repeatable:

1. Give a sign of life, so that other workers know of this one.
2. Write the keys of all candidates to ``event_keys``. From here on every later look sees them.
3. Ask who else lives. Alone, with a filter that holds every key, ids that the filter does not know
   are certainly new. Otherwise every id is looked up.
4. Look the rest up, and judge (``worker.core.copies``).
5. Write down later copies that another worker may have stored before it could see ours, and note
   their hours as touched: the rollup leaves them out from then on.

Of two workers that race, the one that wrote its keys later sees both copies; it drops its own copy
or names the other's. A worker that was stopped between 1 and 3 for so long that it counts as dead
notices, and looks everything up.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Final

from sluice.logs import get_logger
from sluice.telemetry import FILTER_KEYS, KEYS_LOOKED_UP
from sluice.warehouse import upkeep
from sluice.warehouse.client import External, Warehouse
from worker.core.copies import REACH, Verdict, is_alone, is_complete, judge
from worker.core.keyfilter import Halves, KeyFilter, halves_of_row_binary, halves_of_text
from worker.core.rows import HOUR_CHARS, Key
from worker.encoding import frames
from worker.registry import Registry

KEY_BYTES: Final = 16
LOOK_UP_KEYS: Final = 25_000
"""Keys of one look-up."""
REFILL_S: Final = 3600.0
"""How often a full filter is made anew, from the keys that have not expired."""

log: Final = get_logger(__name__)


class Keys:
    """The keys of events that clients named, in the warehouse and in this worker's memory."""

    def __init__(self, warehouse: Warehouse, registry: Registry, *, capacity: int) -> None:
        self._warehouse = warehouse
        self._registry = registry
        self._capacity = capacity
        self._filter: KeyFilter | None = None
        self._filling: KeyFilter | None = None
        self._adding = asyncio.Lock()
        self._loaded_at = 0.0
        self._refill_at = 0.0

    @property
    def has_filter(self) -> bool:
        """Whether look-ups are spared, as far as was known at the last batch."""
        return self._filter is not None

    async def judge(self, candidates: Sequence[Key]) -> Verdict:
        """Note the candidates and say which are copies. One call at a time.

        Raises:
            WarehouseError: A step failed; the whole call may be repeated.
            ValueError: A candidate's id is not a UUID.
        """
        ids = await asyncio.to_thread(halves_of_text, [key.event_id for key in candidates])
        await self._registry.ensure_fresh()
        data = await asyncio.to_thread(frames, candidates)
        await self._warehouse.insert_rows(
            "event_keys", data, columns=["tenant", "event_id", "event_type", "received_at"]
        )
        knows_all = await self._filter_knows_all()
        if not self._registry.is_fresh:
            # This worker counted as dead for a while: nobody may have looked for its keys.
            await self._registry.ensure_fresh()
            knows_all = False
        perhaps = list(range(len(candidates)))
        if knows_all and self._filter is not None:
            marks = await asyncio.to_thread(self._filter.contains, ids)
            perhaps = marks.nonzero()[0].tolist()
        await self._remember(ids)
        known = await self._look_up([candidates[position] for position in perhaps])
        verdict = await asyncio.to_thread(judge, candidates, known)
        if verdict.stored_before:
            await self._name(verdict.stored_before)
        return verdict

    async def keep_filter(self) -> None:
        """Fill a filter if there is none and it would help; called now and then.

        Raises:
            WarehouseError: The keys could not be read; call again.
        """
        if self._filter is not None and not self._filter.is_full:
            return
        now = time.monotonic()
        if now < self._refill_at or not self._capacity:
            return
        # Whoever gives a sign from here on makes the filter doubtful.
        self._loaded_at = now
        if is_alone(await self._registry.others()):
            await self._fill(KeyFilter(self._capacity))

    async def _filter_knows_all(self) -> bool:
        others = await self._registry.others()
        age_s = time.monotonic() - self._loaded_at
        if self._filter is not None and not is_complete(others, loaded_age_s=age_s):
            log.info("Filter dropped because another worker writes keys")
            self._filter = None
        return self._filter is not None and not self._filter.is_full

    async def _fill(self, members: KeyFilter) -> None:
        self._filter = None
        self._filling = members
        try:
            rest = b""
            async with aclosing(self._warehouse.stream(upkeep.ALL_KEYS, fmt="RowBinary")) as pieces:
                async for piece in pieces:
                    data = rest + piece
                    whole = len(data) // KEY_BYTES * KEY_BYTES
                    rest = data[whole:]
                    async with self._adding:
                        await asyncio.to_thread(members.add, halves_of_row_binary(data[:whole]))
                    if members.is_full:
                        break
            if members.is_full:
                self._refill_at = time.monotonic() + REFILL_S
                log.warning("Every key is looked up: there are more than the filter holds")
            else:
                self._filter = members
        finally:
            self._filling = None
        FILTER_KEYS.set(0 if self._filter is None else members.count)

    async def _remember(self, ids: Halves) -> None:
        async with self._adding:
            for members in (self._filter, self._filling):
                if members is not None:
                    await asyncio.to_thread(members.add, ids)
        FILTER_KEYS.set(0 if self._filter is None else self._filter.count)

    async def _look_up(self, wanted: Sequence[Key]) -> list[Key]:
        found: list[Key] = []
        for start in range(0, len(wanted), LOOK_UP_KEYS):
            part = wanted[start : start + LOOK_UP_KEYS]
            times = [key.received_at for key in part]
            rows = await self._warehouse.fetch(
                upkeep.KEY_COPIES,
                external=External(
                    name="wanted",
                    structure="tenant String, event_id UUID",
                    data="".join(f"{key.tenant}\t{key.event_id}\n" for key in part).encode(),
                ),
                earliest=_shifted(min(times), -REACH),
                latest=_shifted(max(times), REACH),
            )
            found += [Key(tenant, event_id, kind, at) for tenant, event_id, at, kind in rows]
            KEYS_LOOKED_UP.inc(len(part))
        return found

    async def _name(self, copies: Sequence[Key]) -> None:
        rows = [
            {
                "tenant": key.tenant,
                "hour": f"{key.received_at[:HOUR_CHARS]}:00:00",
                "event_type": key.event_type,
                "event_id": key.event_id,
                "received_at": key.received_at,
            }
            for key in copies
        ]
        await self._warehouse.insert_rows("event_duplicates", frames(rows), columns=list(rows[0]))


def _shifted(moment: str, by: timedelta) -> str:
    return (datetime.fromisoformat(moment) + by).isoformat(sep=" ", timespec="microseconds")
